"""The engine: a plan, a backend that runs it, and the way of a frame from `transfer` and `stream` to the result."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from fetfast import backends, image
from fetfast.cudagraph import Graphs
from fetfast.errors import BadInput, Unavailable
from fetfast.face import Face, Landmarker, select
from fetfast.image import Frame
from fetfast.locks import Lock
from fetfast.ops.crop import to_picture
from fetfast.place import HOST, Device, Host
from fetfast.plan import Plan
from fetfast.spec import REGIONS, TASKS, Output
from fetfast.step import Step, Target, Wiring

Which = str | int | Face  # "largest", "all", an index, or a face that is already known
Codes = dict[str, np.ndarray]  # code name -> f32 [n], as `encode` gives and `decode` takes them


class Engine:
    """Puts the expression of one face onto another, and whatever else its plan does.

    plan: a `Plan`, a path, or the name of a plan that ships; None takes the best one that ships.
    backend: "auto" takes the first that can run the plan here (`skipped` says why the others cannot); a backend asked
    for by name raises Unavailable, with the fix, where it cannot.
    device: "cpu", "cuda", "cuda:N", or None for whatever the backend prefers.

    Attributes: `plan`, `backend` (name), `device`, `skipped` (backend name to reason), `landmarker`, `place` (where the
    work of a step is done: on a GPU a frame goes up once and comes down once).
    Threads may share an engine: their steps take turns. A forked child of a process that has used networks can neither
    use its engines nor open one: it gets Unavailable. Start processes by "spawn", and open an engine in each.
    Raises BadPlan, BadInput, Unavailable, MissingAsset.
    """

    def __init__(self, plan: Plan | str | None = None, backend: str = "auto", device: str | None = None) -> None:
        if not isinstance(plan, Plan | str | os.PathLike | None):
            raise BadInput(f"plan is {plan!r}, expected a Plan, a path, or the name of a plan that ships")
        self.plan = plan if isinstance(plan, Plan) else Plan.open(plan or Plan.best())
        self._wirings = {task: Wiring(self.plan.spec, task) for task in self.plan.spec.tasks}
        self.backend, self.skipped = backends.choose(self.plan, backend, device)
        self.device = device
        self.landmarker = Landmarker()  # first: where its networks cannot be had nothing need be compiled
        self._runners = backends.load(self.backend, self.plan, device)
        on_gpu = backends.tensors_on(self.backend, device)
        self.place: Host | Device = Device(on_gpu) if on_gpu else HOST
        self._graphs = Graphs(self.place, self._runners) if isinstance(self.place, Device) else None
        self._lock = Lock()  # networks give memory that the next step overwrites

    def run(
        self,
        task: str,
        *,
        src: Any = None,
        tgt: Any = None,
        expression: Any = None,
        codes: Any = None,
        intensity: float = 1.0,
        regions: Iterable[str] = REGIONS,
        face: Which = "largest",
    ) -> Any:
        """Does one of the plan's tasks: those of `plan.spec.tasks`. What each takes and gives:

            transfer    src, tgt            the target with the driver's expression
            swap        src, tgt            both, each with the other's expression, in that order
            edit        tgt, expression     the target with that expression
            recognize   tgt                 {label: probability}
            encode      tgt                 {code name: f32 [n]}
            decode      codes               the face's crop, u8 [S, S, 3]

        src, tgt: images or batches as `image.read` takes them, paired one to one or one to many; a `Face` or a list of
        faces may stand for `src` where the landmarks are known. The driver's expression is read off its largest face.
        expression: one of `plan.spec.labels`. codes: as `encode` gives them, or a list.
        intensity: 0 (the target as it is) ... 1 (the driver's expression) ... 2 (exaggerated).
        regions: any of "brows", "eyes" (lids), "gaze", "mouth".
        face: which face of the target: "largest", "all", an index from left to right, or a `Face`.

        A picture comes back in the kind, layout and device of the picture that it was made from; anything else alone,
        or as a list where a batch was given; with face="all" `recognize` and `encode` give a list for each picture.
        Raises BadInput, NoFace where an image shows none, and Unavailable where the plan does not do the task.
        """
        options = self.options(intensity, regions, task)
        kind, given = TASKS[task], {"src": src, "tgt": tgt, "expression": expression, "codes": codes}
        if off := [name for name, value in given.items() if (value is None) == (name in kind.takes)]:
            raise BadInput(f"{task} takes {' and '.join(kind.takes)}; {', '.join(off)} missing or not for it")
        if "expression" in kind.takes:
            options["label"] = self._label(expression)
        if "codes" in kind.takes:
            steps = [self._decoding(each) for each in (codes if isinstance(codes, list | tuple) else [codes])]
            give_back = {"codes": lambda out: list(out) if isinstance(codes, list | tuple) else out[0]}
        else:
            steps, give_back = self._paired(task, src, tgt, face, options)
        results = [self.begin(step)() for step in steps]
        out = []
        for output, column in zip(self._wirings[task].outputs, zip(*results, strict=True), strict=True):
            if output.to in ("labels", "codes") and face != "all":
                column = tuple(faces[0] for faces in column)
            picture = "src" if output.to == "driver" else "tgt" if output.to == "target" else "codes"
            out.append(give_back[picture](list(column)))
        return out[0] if len(out) == 1 else tuple(out)

    def transfer(
        self,
        src: Any,
        tgt: Any,
        *,
        intensity: float = 1.0,
        regions: Iterable[str] = REGIONS,
        face: Which = "largest",
    ) -> Any:
        """The target with the driver's expression: its identity, pose, hair, background and size stay. See `run`."""
        return self.run("transfer", src=src, tgt=tgt, intensity=intensity, regions=regions, face=face)

    def swap(self, a: Any, b: Any, **options: Any) -> tuple[Any, Any]:
        """Both pictures, each with the expression of the other: (a with b's, b with a's). See `run`."""
        return self.run("swap", src=a, tgt=b, **options)

    def edit(self, tgt: Any, expression: str, *, intensity: float = 1.0, face: Which = "largest") -> Any:
        """The picture with the expression of that name, one of `plan.spec.labels`. See `run`."""
        return self.run("edit", tgt=tgt, expression=expression, intensity=intensity, face=face)

    def recognize(self, tgt: Any, *, face: Which = "largest") -> Any:
        """{label: probability} of the face's expression; see `run`. An expression is not an emotion in a person."""
        return self.run("recognize", tgt=tgt, face=face)

    def encode(self, tgt: Any, *, face: Which = "largest") -> Any:
        """The face as the plan's codes, {name: f32 [n]}. See `run`."""
        return self.run("encode", tgt=tgt, face=face)

    def decode(self, codes: Codes | list[Codes]) -> Any:
        """The face that the codes stand for, u8 [S, S, 3], or a list of them. See `run`."""
        return self.run("decode", codes=codes)

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
            ((frame, known), *more), _ = self._sources(item, f"frames[{i}]")
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

    def prepare(self, picture: Any, face: Which = "largest", name: str = "tgt") -> Target:
        """Finds the faces of a target, one picture as `image.read` takes it, and readies what does not depend on the
        driver. Raises BadInput, NoFace."""
        (frame, *more), _, _ = image.read(picture, name)
        if more:
            raise BadInput(f"{name} is a batch of {len(more) + 1}, expected one image; prepare each")
        if isinstance(face, Face):
            faces = [face]
        else:
            faces = select(self.landmarker.detect(frame, everyone=face != "largest"), face, name)
        if doubtful := [each for each in faces if each.trust < 0.8]:
            warnings.warn(
                f"{name}: of {len(faces)} faces {len(doubtful)} turned away or covered, changed less", stacklevel=2
            )
        return Target.prepare(frame, faces)

    def render(
        self,
        driver: Face | Sequence[Face],
        target: Target,
        driver_frame: Frame | None = None,
        *,
        intensity: float = 1.0,
        regions: tuple[str, ...] = REGIONS,
    ) -> Frame:
        """One step of `transfer` on prepared parts. Returns a new frame u8 [H, W, 3].
        driver: one for all faces of the target, or one for each.
        driver_frame is needed only by plans that look at the driver's picture."""
        step = self.step("transfer", driver, target, driver_frame, intensity=intensity, regions=regions)
        return self.begin(step)()[0]

    def step(
        self,
        task: str,
        driver: Face | Sequence[Face],
        target: Target,
        driver_frame: Frame | None = None,
        **options: Any,  # intensity, regions, label
    ) -> Step:
        """One step of a task, nothing of it done yet."""
        return Step(self._wirings[task], self._runners, driver, driver_frame, target, place=self.place, **options)

    def begin(self, step: Step) -> Callable[[], list[Any]]:
        """Runs a step: its stages, then what becomes of their outputs. Returns a function that waits for the results,
        one for each output of the task, and gives them in any thread, so that the next step may begin before; on a GPU
        two steps are under way at most. Steps of several threads take turns."""
        with self._lock, self.place.here():
            made = self._graphs.run(step) if self._graphs and step.place is self._graphs.place else step.results()
            takes = [self._taken(output, tensors) for output, tensors in zip(step.wiring.outputs, made, strict=True)]
        return lambda: [take() for take in takes]

    def finish(self, step: Step, output: Output, parts: dict[str, Any]) -> Callable[[], Any]:
        """What one output of a step becomes, from its parts. Returns a function, as `begin`."""
        return self._taken(output, step.result(output, parts))

    def _taken(self, output: Output, made: dict[str, Any]) -> Callable[[], Any]:
        """A function that waits for the result of one output, and gives it as the caller wants it: a frame
        u8 [H, W, 3], a picture, or for each face its labels or codes."""
        if "frame" in made:
            return self.place.download(made["frame"])
        takes = {name: self.place.download(self.place.copy(tensor)) for name, tensor in made.items()}
        if output.to == "image":
            return lambda: to_picture(takes["image"]()[0])
        if output.to == "labels":
            labels = self.plan.spec.labels
            return lambda: [dict(zip(labels, row.tolist(), strict=True)) for row in takes["probabilities"]()]
        count = len(next(iter(made.values())))
        return lambda: [{name: take()[i] for name, take in takes.items()} for i in range(count)]

    def run_stage(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Runs one network of the plan: f32 tensors [B, ...] by name, in and out; NumPy arrays, or on a GPU its own.
        The next call overwrites what it gives."""
        return self._runners[name](inputs)

    def options(self, intensity: float, regions: Iterable[str], task: str = "transfer") -> dict[str, Any]:
        """The options of `run`, as `step` takes them. Raises BadInput; Unavailable where the plan does no such task."""
        if not (isinstance(intensity, Real) and 0 <= intensity <= 2):
            raise BadInput(f"intensity is {intensity!r}, expected a number in 0 ... 2")
        chosen = (regions,) if isinstance(regions, str) or not isinstance(regions, Iterable) else tuple(regions)
        unknown = set(chosen) - set(REGIONS)
        if unknown or not chosen:
            raise BadInput(f"regions is {list(chosen)}, expected some of {', '.join(REGIONS)}")
        if task not in TASKS:
            raise BadInput(f"task is {task!r}, expected one of {', '.join(TASKS)}")
        if task not in self.plan.spec.tasks:
            does, others = ", ".join(self.plan.spec.tasks), ", ".join(Plan.doing(task))
            fix = (
                f"plans that do and ship: {others}" if others else "no plan that ships does; build one (fetfast train)"
            )
            raise Unavailable(f"{self.plan.name} does {does}, not {task}; {fix}")
        return {"intensity": float(intensity), "regions": tuple(dict.fromkeys(chosen))}

    def _paired(
        self, task: str, src: Any, tgt: Any, face: Which, options: dict[str, Any]
    ) -> tuple[list[Step], dict[str, Callable[[list[Any]], Any]]]:
        """A step for each pair of pictures, and how results made from either picture, or neither, are given back."""
        targets, batched, tgt_back = image.read(tgt, "tgt")
        sources, src_back = ([], tgt_back) if src is None else self._sources(src, "src")
        if "driver" in TASKS[task].gives and (face == "all" or sources[0][0] is None):
            raise BadInput(f"{task} changes one face of either picture; give images, and face as an index")
        drivers = [
            (known or self._largest(frame, _name("src", src, i)), frame) for i, (frame, known) in enumerate(sources)
        ]
        n = max(len(drivers), len(targets))
        if not {len(drivers) or n, len(targets)} <= {1, n}:
            raise BadInput(f"{task}(): {len(drivers)} drivers and {len(targets)} targets, expected as many, or one")
        prepared = [self.prepare(frame, face, _name("tgt", tgt, i)) for i, frame in enumerate(targets)]
        steps = []
        for i in range(n):
            target = prepared[i if len(targets) > 1 else 0]
            driver, frame = drivers[i if len(drivers) > 1 else 0] if drivers else (target.faces, target.frame)
            steps.append(self.step(task, driver, target, frame, **options))

        def give_back(argument: Any, back: image.GiveBack, count: int) -> Callable[[list[Any]], Any]:
            if isinstance(argument, list | tuple) and n > count:
                return lambda out: [back([frame])[0] for frame in out]
            return back

        batch = batched or n > 1
        return steps, {
            "src": give_back(src, src_back, len(drivers)),
            "tgt": give_back(tgt, tgt_back, len(targets)),
            "codes": lambda out: out if batch else out[0],
        }

    def _decoding(self, codes: Mapping[str, Any]) -> Step:
        """A step of `decode`. Raises BadInput where the codes are not the plan's."""
        wiring = self._wirings["decode"]
        try:
            given = {name: np.asarray(value, np.float32) for name, value in codes.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise BadInput(
                f"codes are a {type(codes).__name__}, expected a dict of arrays, as encode() gives"
            ) from error
        got = {name: value.shape for name, value in given.items()}
        if got != wiring.codes or not all(np.isfinite(value).all() for value in given.values()):
            raise BadInput(f"codes are {got}, expected {wiring.codes}, all finite, as encode() gives them")
        uploaded = self.place.upload({name: value[None] for name, value in given.items()})
        return Step(wiring, self._runners, place=self.place, tensors=dict(uploaded))

    def _label(self, expression: Any) -> str:
        labels = self.plan.spec.labels
        if expression not in labels:
            raise BadInput(f"expression is {str(expression)[:40]!r}, expected one of {', '.join(labels)}")
        return expression

    def _largest(self, frame: Frame | None, name: str) -> Face:
        assert frame is not None  # `_sources` gives a picture or a face
        return select(self.landmarker.detect(frame), "largest", name)[0]

    def _sources(self, src: Any, name: str) -> tuple[list[tuple[Frame | None, Face | None]], image.GiveBack]:
        """The drivers, as frames or as known faces, and how results made of their pictures are given back."""
        faces = src if isinstance(src, list | tuple) else [src]
        if faces and all(isinstance(face, Face) for face in faces):
            return [(None, face) for face in faces], list
        frames, _, give_back = image.read(src, name)
        return [(frame, None) for frame in frames], give_back


def _name(argument: str, value: Any, i: int) -> str:
    """What to call the i-th picture of an argument in a message: its path, or the argument's name."""
    if isinstance(value, str | os.PathLike):
        return str(value)
    if getattr(value, "filename", ""):  # a PIL image of a file
        return str(value.filename)
    return f"{argument}[{i}]" if isinstance(value, list | tuple) or getattr(value, "ndim", 3) == 4 else argument
