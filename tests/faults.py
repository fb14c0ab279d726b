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
    # ---- Ops
    Fault("a lid covers the iris late", "fetfast/ops/anchors.py", "/ COVER + 0.5)", "/ COVER - 0.5)",
          "tests/ops/test_heatmap.py::test_a_lid_covers_by_a_hundredth_of_the_crop"),
    Fault("a change begins with an edge", "fetfast/ops/paste.py", "FEATHER = 0.06", "FEATHER = 0.01",
          "tests/ops/test_paste.py::test_a_change_fades_in_over_six_hundredths_of_the_crop"),
    Fault("samples by the shorter side", "fetfast/ops/crop.py", "[:, :2]).max() / size", "[:, :2]).min() / size",
          "tests/ops/test_crop.py::test_the_longer_side_says_how_many_samples_a_pixel_has"),
    # ---- Plans
    Fault("sparse initialisers are accepted", "fetfast/graph.py", "expect(not model.graph.sparse_initializer,",
          "expect(True,", "tests/test_plan.py::test_graphs"),
    Fault("weights may be NaN", "fetfast/plan.py", "        if off:", "        if False:",
          "tests/test_plan.py::test_weights_that_are_no_numbers"),
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
