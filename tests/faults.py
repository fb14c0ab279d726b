"""Faults that must not pass: each is put into the code by hand, and its test has to fail.

    python tests/faults.py [word ...]       all of them, or those whose line holds a word; `make faults`

A row: what is wrong, the file, the right text and the wrong one (the first occurrence is replaced), and the tests
that notice. Add a row for each fault that a new test guards against. `tests/test_house.py` sees to it that the right
text is still there.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from training_faults import TRAINING

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    what: str
    file: str
    right: str
    wrong: str
    test: str  # a file, or file::name; or arguments for pytest


FAULTS = (
    # ---- Engine and inputs
    Fault("stream gives the target's own buffer", "fetfast/engine.py", "else target.frame.copy()", "else target.frame",
          "tests/test_engine.py::test_a_stream_follows_its_driver"),
    Fault("a region named twice counts twice", "fetfast/engine.py", "tuple(dict.fromkeys(chosen))", "chosen",
          "tests/test_engine.py::test_mistakes_are_named"),
    Fault("intensity 1 ... 2 does nothing", "fetfast/inputs.py", "np.float32(step.intensity)",
          "np.float32(min(step.intensity, 1))",
          "tests/test_step.py::test_points_go_as_far_as_the_intensity_says"),
    Fault("regions melt into each other", "fetfast/step.py", "SOFTNESS = 0.03", "SOFTNESS = 0.5",
          "tests/test_step.py -k region"),
    Fault("what the target's stages gave is overwritten", "fetfast/step.py",
          "tensor if kept is self.tensors else self.place.copy(tensor)", "tensor",
          "tests/test_step.py::test_what_depends_on_the_target_alone_runs_once_for_each_target"),
    Fault("the target's stages run for every driver", "fetfast/step.py", "if key not in self._kept(name):", "if True:",
          "tests/test_step.py::test_what_depends_on_the_target_alone_runs_once_for_each_target"),
    Fault("two steps at once write to one memory", "fetfast/engine.py", "with self._lock, self.", "with self.",
          "tests/test_threads.py -k prepared"),
    Fault("what OpenVINO reports is sent", "fetfast/__init__.py", 'sys.modules["openvino_telemetry"] = None',
          '_ = None', "tests/test_privacy.py -k transfer"),
    # ---- Ops
    Fault("a lid covers the iris late", "fetfast/ops/anchors.py", "/ COVER + 0.5)", "/ COVER - 0.5)",
          "tests/ops/test_heatmap.py::test_a_lid_covers_by_a_hundredth_of_the_crop"),
    Fault("a change begins with an edge", "fetfast/ops/paste.py", "FEATHER = 0.06", "FEATHER = 0.01",
          "tests/ops/test_paste.py::test_a_change_fades_in_over_six_hundredths_of_the_crop"),
    Fault("samples by the shorter side", "fetfast/ops/placement.py", "[:, :2]).max())", "[:, :2]).min())",
          "tests/ops/test_crop.py::test_the_longer_side_says_how_many_samples_a_pixel_has"),
    Fault("a norm takes another's statistics", "fetfast/backends/fuse.py", "x.norm is not None and x.norm[0] is node",
          "x.norm is not None", "tests/kernels/test_networks.py::test_each_norm_has_its_own_weights"),
    Fault("computed weights are laid out once", "fetfast/backends/fuse.py",
          "if all(arg in self.fixed for arg in node.args[1:3] if isinstance(arg, Node)):", "if True:",
          "tests/kernels/test_networks.py::test_weights_may_be_computed"),
    Fault("a target's part is not drawn anew", "fetfast/cudagraph.py", "            self.prepare()", "            pass",
          "tests/kernels/test_device_frames.py::test_a_moving_target_takes_one_copy_more"),
    Fault("graphs share a stream", "fetfast/backends/gpu.py",
          "graph, stream = self.torch.cuda.CUDAGraph(), own_stream(self.device)",
          "graph, stream = self.torch.cuda.CUDAGraph(), self.own",
          "tests/kernels/test_streams.py::test_each_capture_has_a_stream_on_which_nothing_ran"),
    # ---- Live and video
    Fault("lost faces are never forgotten", "fetfast/live/track.py", "self._people[number].lost > FORGET", "False",
          "tests/live/test_track.py::test_a_lost_face_is_forgotten"),
    Fault("untagged 720p is read as BT.601", "fetfast/video/colour.py", "video.height >= 720", "video.height > 720",
          "tests/test_colour.py::test_a_video_that_names_no_matrix"),
    # ---- Plans
    Fault("sparse initialisers are accepted", "fetfast/onnx_graph.py", "expect(not model.graph.sparse_initializer,",
          "expect(True,", "tests/test_plan.py::test_graphs"),
    Fault("weights may be NaN", "fetfast/plan.py", "        if off:", "        if False:",
          "tests/test_plan.py::test_weights_that_are_no_numbers"),
    # ---- Judges
    Fault("a difference of two plans is not paired", "fetfast/evaluate/figures.py", "_drawn(two) - _drawn(one)",
          "_drawn(two) - _drawn(one[::-1])", "tests/evaluate/test_figures.py::test_a_difference_is_paired"),
    Fault("an interval is of half of the draws", "fetfast/evaluate/figures.py", "LEVEL = 95", "LEVEL = 50",
          "tests/evaluate/test_figures.py"),
    Fault("an eye that is shut at rest counts", "fetfast/evaluate/motion.py", "shut = rest.lids < OPEN",
          "shut = rest.lids < 0", "tests/evaluate/test_judges.py"),
    Fault("motion the wrong way counts for it", "fetfast/evaluate/actions.py", "pairs *= np.sign(pairs[-1:, 1:])",
          "pairs = np.abs(pairs)", "tests/evaluate/test_actions.py"),
    Fault("what the driver moves a little is still", "fetfast/evaluate/actions.py", "STILL = 0.15", "STILL = 0.9",
          "tests/evaluate/test_actions.py"),
    Fault("steps of a movement do not add up", "fetfast/evaluate/motion.py", "= field + _seen", "= _seen",
          "tests/evaluate/test_judges.py::test_steps_of_one_movement_add_up"),
    Fault("a mouth's corners are changed over", "fetfast/evaluate/motion.py", "((48,), (54,))", "((54,), (48,))",
          "tests/evaluate/test_judges.py::test_what_moves_is_seen_where_it_moves"),
    Fault("a wink is read off both eyes", "fetfast/evaluate/points.py", "    out = picture.copy()",
          "    return picture", "tests/evaluate/test_judges.py"),
    Fault("old weights are read without their sign", "fetfast/evaluate/emotion.py", "op.data.view(np.int8)", "op.data",
          "tests/evaluate/test_judges.py"),
    Fault("a lost face closes the gap", "fetfast/evaluate/cross.py", "np.where(np.isnan(shapes), own.blendshapes, sh",
          "np.where(np.isnan(shapes), wanted, sh", "tests/evaluate/test_cross.py"),
    Fault("blendshapes that do not vary count", "fetfast/evaluate/cross.py", "wanted.std(0) > VARIES",
          "wanted.std(0) > -1", "tests/evaluate/test_cross.py"),
    Fault("a smile is aligned by the mouth too", "fetfast/evaluate/smiles.py", "151, 10, 108, 337)",
          "151, 10, 108, 337, 61, 291, 17)", "tests/evaluate/test_smiles.py"),
    Fault("flicker is over space, not time", "fetfast/evaluate/film.py", "np.diff(levels, n=2, axis=0)",
          "np.diff(levels, n=2, axis=1)", "tests/evaluate/test_film.py"),
    Fault("the best are kept for the worst", "fetfast/evaluate/album.py", "((self.worst, 1), (self.best, -1))",
          "((self.worst, -1), (self.best, 1))", "tests/evaluate/test_evaluate_report.py"),
    Fault("one person's results are compared among them", "fetfast/evaluate/realism.py", "if other != name]", "]",
          "tests/evaluate/test_realism.py"),
    # ---- Synthesis
    Fault("light changes under occluders", "fetfast/synth/occlude.py", '{"flow", "light"} & pair', '{"flow"} & pair',
          "tests/synth/test_lighting.py -k lies_over"),
    Fault("an occluder throws no shadow", "fetfast/synth/occlude.py",
          "DARK, DOWN, SOFT = 0.35,", "DARK, DOWN, SOFT = 0.0,",
          "tests/synth/test_lighting.py -k lies_over"),
    Fault("nobody is mixed", "fetfast/synth/portrait_dataset.py", "if alike and rng.random() < MIXED:", "if False:",
          "tests/synth/test_guards.py -k shares"),
    Fault("a look-alike stands in for the photo", "fetfast/synth/portrait_dataset.py",
          "wanted is not None and chance >= PHOTO + SAME_PERSON", "True", "tests/synth/test_guards.py -k photo"),
    Fault("who is held out is mixed", "fetfast/synth/portrait_dataset.py", "alike = [] if held_out(file) else ",
          "alike = ", "tests/synth/test_guards.py -k mixed"),
    Fault("who is held out lends expressions", "fetfast/synth/portrait_dataset.py",
          "if held_out(file) or not held_out(path)", "if True", "tests/synth/test_guards.py -k mixed"),
    Fault("what moves near glasses bends them", "fetfast/synth/portrait_dataset.py",
          "if portrait.glasses:  # what moves", "if False:  # what moves", "tests/synth/test_guards.py -k glasses"),
    Fault("nobody wears glasses", "fetfast/synth/portrait.py", "GLASSES_EDGE = 0.26", "GLASSES_EDGE = 2.6",
          "tests/synth/test_guards.py -k glasses"),
    Fault("a head may turn between frames of a pair", "fetfast/synth/video_dataset.py", "np.radians(4)",
          "np.radians(40)", "tests/synth/test_guards.py -k still"),
    Fault("no ambient occlusion", "fetfast/synth/render.py", "np.clip(lost, 0, 0.75)", "np.clip(0 * lost, 0, 0.75)",
          "tests/synth/test_lighting.py -k below_a_step"),
    Fault("shading leaves ambient occlusion out", "fetfast/synth/render.py", "1 - occlusion(scene)",
          "1 - 0 * occlusion(scene)", "tests/synth/test_lighting.py -k shading"),
    Fault("creases lose no light", "fetfast/synth/reexpress.py", "np.exp(-CREASES * deeper)", "np.exp(0 * deeper)",
          "tests/synth/test_lighting.py -k crease"),
    Fault("skin glows where the photo is dark", "fetfast/synth/reexpress.py",
          "RELIGHT = (0.75, 1.25)", "RELIGHT = (0.75, 9)",
          "tests/synth/test_lighting.py -k crease"),
    Fault("no shadows", "fetfast/synth/render.py", "lit += step(-0.75", "lit += 1 + 0 * step(-0.75",
          "tests/synth/test_lighting.py -k square"),
    Fault("renders leave their shadows out", "fetfast/synth/render.py", "lit = shadow(", "lit = 1 + 0 * shadow(",
          "tests/synth/test_lighting.py -k render"),
    Fault("the key light shines through", "fetfast/synth/render.py", "diffuse * soft +", "diffuse +",
          "tests/synth/test_lighting.py -k key_light"),
    Fault("openings are as bright at their edges", "fetfast/synth/reexpress.py", "OPENING_BLUR = 0.008",
          "OPENING_BLUR = 0.0001", "tests/synth/test_lighting.py -k openings"),
    Fault("the mouth's inside is lit in the dark", "fetfast/synth/reexpress.py",
          "min(max(2.0 * dim[y, x] - 0.6, 0.15), 1.0)", "1.0", "tests/synth/test_lighting.py -k opening_shows"),
    Fault("no robust fit of the model", "fetfast/synth/fit.py", "if step >= ROBUST_FROM:", "if False:",
          "tests/synth/test_guards.py -k wrong"),
    Fault("no robust fit of the light", "fetfast/synth/portrait.py",
          "weight = 1 / (1 + ((value - system @ light) / OUTLIER) ** 2)", "weight = np.ones(len(value))",
          "tests/synth/test_lighting.py -k outliers"),
    # ---- Training
    *(Fault(*row) for row in TRAINING),
)  # fmt: skip


def notices(fault: Fault) -> bool:
    """Whether the fault's tests fail with it. The file is put right again whatever happens."""
    path = ROOT / fault.file
    right = path.read_text()
    path.write_text(right.replace(fault.right, fault.wrong, 1))
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", *fault.test.split()]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=600)
    finally:
        path.write_text(right)
    return run.returncode == 1  # tests failed; other ends are no answer


def main(words: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not words or any(word in str(fault) for word in words)]
    missed = 0
    for fault in chosen:
        noticed = notices(fault)
        missed += not noticed
        print(f"{'noticed' if noticed else 'MISSED '}  {fault.what}  ({fault.test})", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults noticed")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
