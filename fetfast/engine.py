"""The engine: a plan, a backend that runs it, and the way of a frame from `transfer` and `stream` to the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

from fetfast import backends, image
from fetfast.errors import BadInput, BadPlan, Unavailable
from fetfast.face import Face, Landmarker, select
from fetfast.image import Frame
from fetfast.inputs import READ, Scene, Target, leaves
from fetfast.ops.paste import paste
from fetfast.place import HOST, Device, Host
from fetfast.plan import Plan
from fetfast.spec import REGIONS

Which = str | int | Face  # "largest", "all", an index, or a face that is already known


class Engine:
    """Puts the expression of one face onto another.

    plan: a `Plan`, a path, or the name of a plan that ships; None takes the best one that ships.
    backend: "auto" takes the first that can run the plan here (`skipped` says why the others cannot); a backend asked
    for by name raises Unavailable, with the fix, where it cannot.
    device: "cpu", "cuda", "cuda:N", or None for whatever the backend prefers.

    Attributes: `plan`, `backend` (name), `device`, `skipped` (backend name to reason), `landmarker`, `place` (where the
    work of a step is done: on a GPU a frame goes up once and comes down once).
    One thread at a time: its networks give memory that the next step overwrites. Open an engine for each thread.
    Raises BadPlan, BadInput, Unavailable, MissingAsset.
    """

    def __init__(self, plan: Plan | str | None = None, backend: str = "auto", device: str | None = None) -> None:
        self.plan = plan if isinstance(plan, Plan) else Plan.open(plan or Plan.best())
        spec = self.plan.spec
        if "transfer" in spec.tasks and "flow" not in spec.paste:
            raise BadPlan(f"{self.plan.name} pastes {sorted(spec.paste)}, expected a flow; build the plan again")
        given = {tensor.name for stage in spec.stages for tensor in stage.outputs}
        needed = [*(tensor.name for stage in spec.stages for tensor in stage.inputs), *spec.paste.values()]
        reads = leaves(needed, given)
        if missing := sorted(reads - READ.keys()):
            raise Unavailable(f"{self.plan.name} asks for inputs that this version cannot build: {', '.join(missing)}")
        self._reads = frozenset(reads | {"target_frame"})  # which `compose` takes
        self.backend, self.skipped = backends.choose(self.plan, backend, device)
        self.device = device
        self.landmarker = Landmarker()  # first: where its networks cannot be had nothing need be compiled
        self._runners = backends.load(self.backend, self.plan, device)
        on_gpu = backends.gpu_of(self.backend, device)
        self.place: Host | Device = Device(on_gpu) if on_gpu else HOST

    def transfer(
        self,
        src: Any,
        tgt: Any,
        *,
        intensity: float = 1.0,
        regions: Iterable[str] = REGIONS,
        face: Which = "largest",
    ) -> Any:
        """The target with the source's expression: its identity, pose, hair, background and size stay.

        src, tgt: images or batches as `image.read` takes them; a `Face` or a list of faces may stand for `src` where
        the landmarks are known. One of the two may be single and the other a batch.
        intensity: 0 (the target as it is) ... 1 (the source's expression) ... 2 (exaggerated).
        regions: any of "brows", "eyes" (lids), "gaze", "mouth".
        face: which face of the target: "largest", "all", an index from left to right, or a `Face`.
        The source's expression is read off its largest face.

        Returns the kind, layout and device of `tgt`, batched if either was.
        Raises BadInput, and NoFace where either image shows none.
        """
        options = self.options(intensity, regions)
        sources = [
            (known or self._largest(frame, _name("src", src, i)), frame)
            for i, (frame, known) in enumerate(self._sources(src, "src"))
        ]
        targets, _, give_back = image.read(tgt, "tgt")
        n = max(len(sources), len(targets))
        if not {len(sources), len(targets)} <= {1, n}:
            raise BadInput(f"transfer(): {len(sources)} sources and {len(targets)} targets, expected as many, or one")
        prepared = [self.prepare(frame, face, _name("tgt", tgt, i)) for i, frame in enumerate(targets)]
        out = []
        for i in range(n):
            source, source_frame = sources[i if len(sources) > 1 else 0]
            out.append(self.render(source, prepared[i if len(targets) > 1 else 0], source_frame, **options))
        if isinstance(tgt, list | tuple) and n > len(targets):
            return [give_back([frame])[0] for frame in out]
        return give_back(out)

    def stream(
        self,
        frames: Iterable[Any],
        tgt: Any,
        *,
        intensity: float = 1.0,
        regions: Iterable[str] = REGIONS,
        face: Which = "largest",
    ) -> Iterator[Any]:
        """Drives one target with many frames: the target is prepared once, the driving face tracked.

        frames: images, or `Face`s where the landmarks are known. Arguments otherwise as in `transfer`; the results
        come in the kind of `tgt`, one for each frame. A frame in which no face is found repeats the last expression,
        and gives the target as it is before the first face was seen. A frame that is no image raises BadInput, naming
        it as frames[i]: the results before it stand.
        """
        if isinstance(frames, str | bytes | os.PathLike) or not isinstance(frames, Iterable):
            raise BadInput(
                f"stream(): frames is a {type(frames).__name__}, expected a list or iterator of images; "
                "for a video file see fetfast.Loop"
            )
        options = self.options(intensity, regions)
        targets, batched, give_back = image.read(tgt, "tgt")
        if batched:
            raise BadInput(f"stream(): tgt is a batch of {len(targets)}, expected one image; open a stream for each")
        return self._steps(frames, self.prepare(targets[0], face, _name("tgt", tgt, 0)), give_back, options)

    def _steps(self, frames: Iterable[Any], target: Target, give_back: Any, options: dict[str, Any]) -> Iterator[Any]:
        last: tuple[Face, Frame | None] | None = None
        for i, item in enumerate(frames):
            (frame, known), *more = self._sources(item, f"frames[{i}]")
            if more:
                raise BadInput(f"stream(): frames[{i}] is a batch of {len(more) + 1}, expected single images")
            if known is None and frame is not None:
                known = self.follow(frame, last[0] if last else None)
            if known is not None:
                last = known, frame
            out = self.render(last[0], target, last[1], **options) if last else target.frame.copy()
            yield give_back([out])

    def follow(self, frame: Frame, previous: Face | None) -> Face | None:
        """The face in a driving frame u8 [H, W, 3]: tracked from the frame before, else the largest that is found."""
        found = self.landmarker.track(frame, previous) if previous is not None else None
        if found is None:
            found = next(iter(self.landmarker.detect(frame)), None)
        return found

    def prepare(self, frame: Frame, face: Which = "largest", name: str = "tgt") -> Target:
        """Finds the faces of a target frame u8 [H, W, 3] and readies what does not depend on the source."""
        if isinstance(face, Face):
            faces = [face]
        else:
            faces = select(self.landmarker.detect(frame), face, name)
        return Target.prepare(frame, faces, self.plan.spec.resolution)

    def render(
        self,
        source: Face | Sequence[Face],
        target: Target,
        source_frame: Frame | None = None,
        *,
        intensity: float = 1.0,
        regions: tuple[str, ...] = REGIONS,
    ) -> Frame:
        """One step on prepared parts: the stages in order, then the paste. Returns a new frame u8 [H, W, 3].
        `source`: one for all faces of the target, or one for each.
        `source_frame` is needed only by plans that look at the source's picture."""
        scene = self.scene(source, target, source_frame, intensity=intensity, regions=regions)
        return self.compose(target, self.run(scene))()

    def scene(
        self,
        source: Face | Sequence[Face],
        target: Target,
        source_frame: Frame | None = None,
        *,
        intensity: float = 1.0,
        regions: tuple[str, ...] = REGIONS,
    ) -> Scene:
        """One step of this engine, nothing of it done yet."""
        return Scene(source, source_frame, target, intensity, regions, place=self.place, reads=self._reads)

    def run(self, scene: Scene) -> dict[str, Any]:
        """The first half of `render`, the stages of a `scene` in order: what `compose` pastes, by part (flow, light,
        mask, color), at the engine's place. Good until the next step; on a GPU it is not waited for."""
        with self.place.here():
            for stage in self.plan.spec.stages:
                scene.tensors |= self.run_stage(stage.name, {i.name: scene.need(i.name) for i in stage.inputs})
            return {part: scene.need(name) for part, name in self.plan.spec.paste.items()}

    def compose(self, target: Target, parts: dict[str, Any]) -> Callable[[], Frame]:
        """The second half of `render`: the parts, as `run` has just given them for this target, pasted into a copy
        of the target's frame. Returns a function that waits for it and gives it, in any thread, so that the next step
        may begin before; on a GPU two steps are under way at most."""
        with self.place.here():
            out = target.tensors["target_frame"]
            for i, M in enumerate(target.matrices):
                out = paste(out, M, **{part: tensor[i] for part, tensor in parts.items()})
            return self.place.download(out)

    def run_stage(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Runs one network of the plan: f32 tensors [B, ...] by name, in and out; NumPy arrays, or on a GPU its own."""
        return self._runners[name](inputs)

    def _largest(self, frame: Frame | None, name: str) -> Face:
        assert frame is not None  # `_sources` gives a picture or a face
        return select(self.landmarker.detect(frame), "largest", name)[0]

    def options(self, intensity: float, regions: Iterable[str]) -> dict[str, Any]:
        """`transfer`'s options as `render` takes them. Raises BadInput; Unavailable where the plan does no transfer."""
        if not (isinstance(intensity, Real) and 0 <= intensity <= 2):
            raise BadInput(f"intensity is {intensity!r}, expected a number in 0 ... 2")
        chosen = (regions,) if isinstance(regions, str) else tuple(regions)
        unknown = set(chosen) - set(REGIONS)
        if unknown or not chosen:
            raise BadInput(f"regions is {list(chosen)}, expected some of {', '.join(REGIONS)}")
        if "transfer" not in self.plan.spec.tasks:
            raise Unavailable(
                f"{self.plan.name} does {', '.join(self.plan.spec.tasks)}, not transfer; open another plan"
            )
        return {"intensity": float(intensity), "regions": tuple(dict.fromkeys(chosen))}

    def _sources(self, src: Any, name: str) -> list[tuple[Frame | None, Face | None]]:
        if isinstance(src, Face):
            return [(None, src)]
        if isinstance(src, list | tuple) and src and all(isinstance(s, Face) for s in src):
            return [(None, s) for s in src]
        return [(frame, None) for frame in image.read(src, name)[0]]


def _name(argument: str, value: Any, i: int) -> str:
    """What to call the i-th picture of an argument in a message: its path, or the argument's name."""
    if isinstance(value, str | os.PathLike):
        return str(value)
    return f"{argument}[{i}]" if isinstance(value, list | tuple) or getattr(value, "ndim", 3) == 4 else argument
