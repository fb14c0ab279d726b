"""The house's conventions, stated once, and the `Spec` that describes a plan's networks.

Coordinates
    x points right, y down. A *frame* point is in pixels; the pixel in row r and column c covers
    [c, c+1] x [r, r+1] and its centre is (c + 0.5, r + 0.5).
    A *crop* is the square part of a frame that holds one face, upright. A crop point is in crop sides:
    (0, 0) is the crop's top left corner, (1, 1) its bottom right one, whatever resolution S it is sampled at;
    the centre of crop pixel (r, c) is ((c + 0.5) / S, (r + 0.5) / S).
    `M` f32 [2, 3] maps crop points to frame points: frame = M @ (x, y, 1).

Values
    Frames are u8 [H, W, 3] RGB. Networks see f32 [B, 3, S, S] RGB in -1 ... 1 (= u8 / 127.5 - 1).
    A *flow* f32 [B, 2, S, S] (x, y) is backward and an offset, in crop sides:
    result(p) = target(p + flow(p)). A *mask* [B, 1, S, S] in 0 ... 1 says how much of *color*
    [B, 3, S, S] in -1 ... 1 replaces the warped pixel. A *light* [B, 1, S, S] is a gain less one:
    the warped pixel's levels 0 ... 255 are first multiplied by 1 + light. A stage's own pictures may be twice as fine,
    2 S a side.

Letters
    B batch, H W frame, S crop resolution, K landmarks (478), C channels, E blendshapes (52).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

LANDMARKS = 478
REGIONS = ("brows", "eyes", "gaze", "mouth")
PARTS = ("flow", "mask", "color", "light")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
MAX_RESOLUTION = 1024  # of a plan: twice what `fetfast synth` makes pairs for; a step's pictures grow with its square
MAX_SIDE = 8192  # of any tensor of a stage, so that a lie in a plan's header allocates nothing big
MAX_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class TaskKind:
    """takes: arguments of `Engine.run`. gives: where each result goes, in the caller's order: see `Output`."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]


TASKS = {  # a picture taken alone plays both parts, driver and target
    "transfer": TaskKind(("src", "tgt"), ("target",)),
    "swap": TaskKind(("src", "tgt"), ("driver", "target")),
    "edit": TaskKind(("tgt", "expression"), ("target",)),
    "recognize": TaskKind(("tgt",), ("labels",)),
    "encode": TaskKind(("tgt",), ("codes",)),
    "decode": TaskKind(("codes",), ("image",)),
}

# Face Landmarker's order. Left is the subject's left.
BLENDSHAPES = tuple(
    """_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
    jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
    mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight""".split()
)


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor of a stage. `shape` is without the batch: every tensor has B in front. `dtype`: float32."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Stage:
    """One network of a plan: takes the tensors named in `inputs`, gives those named in `outputs`.

    A `precise` stage computes points: its weights and its arithmetic are f32 in a plan of any precision.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precise: bool = False


@dataclass(frozen=True)
class Output:
    """One thing that a task gives, and the tensors that it is made of. Raises ValueError where they do not fit.

    to              tensors: keys, and what the tensors of those names are
    target, driver  flow, or with it mask and color, or light: composited into that person's picture
                    image f32 [3, S, S] in -1 ... 1, and if wanted a mask: that person's crop, drawn anew
    image           image: the crop as a picture of its own
    labels          probabilities f32 [labels]: how sure the network is of each of the plan's labels
    codes           any: vectors that the caller keeps, or gives to `decode`
    """

    to: str
    tensors: dict[str, str]

    def __post_init__(self) -> None:
        keys = set(self.tensors)
        if self.to in ("target", "driver"):
            warps = "flow" in keys and keys <= set(PARTS) and ("mask" in keys) == ("color" in keys)
            fits, wanted = (
                warps or {"image"} <= keys <= {"image", "mask"},
                "a flow (and mask and color, light) or an image",
            )
        elif self.to in ("image", "labels"):
            wanted = {"image": "image", "labels": "probabilities"}[self.to]
            fits = keys == {wanted}
        else:
            fits, wanted = (
                self.to == "codes" and bool(keys),
                "codes by name; outputs go to target, driver, image, labels or codes",
            )
        _check(fits, f"an output to {self.to[:40]!r} is made of {sorted(keys)}, expected {wanted}")


@dataclass(frozen=True)
class Task:
    """How a plan does one of its tasks. The engine runs just those stages that the outputs need.

    bind: for a tensor that a stage asks for, the name of the one that stands for it in this task: a decoder's
    "wanted_code" is the driver's in one task, the caller's in another.
    """

    outputs: tuple[Output, ...]
    bind: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """What a plan's networks take and give: all that the engine needs to know of a family.

    `stages` may take what other stages give; what no stage gives, `inputs.py` builds by name, pictures at the size that
    the stage states. `resolution` is the side in pixels at which the plan sees a face: of what it warps, and of pairs
    that it is trained on. `tasks` are keys of TASKS. `labels` name what `recognize` tells apart and `edit` takes.
    `args` are the module's own arguments (the size row).
    """

    family: str
    size: str
    resolution: int
    stages: tuple[Stage, ...]
    tasks: dict[str, Task]
    labels: tuple[str, ...] = ()
    args: dict[str, Any] = field(default_factory=dict)

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> Spec:
        """The inverse of `to_json`, for data from anywhere: raises ValueError where it is not exactly that."""
        _fields(data, "spec", family=str, size=str, resolution=int, stages=list, tasks=dict, labels=list, args=dict)
        resolution, labels = data["resolution"], data["labels"]
        _check(0 < resolution <= MAX_RESOLUTION, f"resolution is {resolution}, expected 1 ... {MAX_RESOLUTION}")
        named = all(isinstance(label, str) and label.isprintable() for label in labels)
        _check(named and len(set(labels)) == len(labels), f"labels are {str(labels)[:80]}, expected different names")
        stages = tuple(_stage(stage) for stage in data["stages"])
        names = [stage.name for stage in stages]
        _check(bool(names) and len(set(names)) == len(names), f"stages are {names}, expected different names")
        given = [tensor.name for stage in stages for tensor in stage.outputs]
        _check(len(set(given)) == len(given), f"stages give {given}, expected each tensor from one stage")
        tasks = {name: _task(name, task) for name, task in data["tasks"].items()}
        _check(bool(tasks), "tasks are none, expected one or more")
        return Spec(data["family"], data["size"], resolution, stages, tasks, tuple(labels), dict(data["args"]))


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _fields(data: Any, where: str, **types: type) -> None:
    _check(isinstance(data, dict) and set(data) == set(types), f"{where} must have exactly the keys {', '.join(types)}")
    for key, kind in types.items():
        _check(type(data[key]) is kind, f"{where}.{key} is no {kind.__name__}")


def _stage(data: Any) -> Stage:
    _fields(data, "stage", name=str, inputs=list, outputs=list, precise=bool)
    _check(data["name"].isidentifier(), f"stage name {data['name'][:40]!r} is no identifier")
    inputs, outputs = (tuple(_tensor(t) for t in data[key]) for key in ("inputs", "outputs"))
    names = [tensor.name for tensor in inputs + outputs]
    _check(
        bool(inputs) and bool(outputs) and len(set(names)) == len(names),
        f"stage {data['name']} must have inputs and outputs, each with a name of its own",
    )
    return Stage(data["name"], inputs, outputs, data["precise"])


def _task(name: str, data: Any) -> Task:
    _check(name in TASKS, f"tasks hold {name[:40]!r}, expected some of {', '.join(TASKS)}")
    _fields(data, f"tasks.{name}", outputs=list, bind=dict)
    outputs = []
    for output in data["outputs"]:
        _fields(output, "output", to=str, tensors=dict)
        _names(output["tensors"], "an output's tensors")
        outputs.append(Output(output["to"], dict(output["tensors"])))
    _names(data["bind"], "bind")
    got = tuple(output.to for output in outputs)
    _check(got == TASKS[name].gives, f"{name} gives {got}, expected {TASKS[name].gives}")
    return Task(tuple(outputs), dict(data["bind"]))


def _names(data: dict[Any, Any], where: str) -> None:
    fits = all(isinstance(name, str) and name.isidentifier() for pair in data.items() for name in pair)
    _check(fits, f"{where} are {str(data)[:80]}, expected names for names")


def _tensor(data: Any) -> TensorSpec:
    _fields(data, "tensor", name=str, shape=list, dtype=str)
    name, shape, dtype = data["name"], data["shape"], data["dtype"]
    _check(name.isidentifier(), f"tensor name {name[:40]!r} is no identifier")
    sizes = 0 < len(shape) <= 4 and all(type(n) is int and 0 < n <= MAX_SIDE for n in shape)
    _check(
        sizes and prod(shape) <= MAX_ELEMENTS,
        f"shape of {name} is {str(shape)[:80]}, expected 1 to 4 sizes up to {MAX_SIDE}, {MAX_ELEMENTS} in all",
    )
    _check(dtype == "float32", f"dtype of {name} is {dtype[:40]!r}, expected float32")
    return TensorSpec(name, tuple(shape), dtype)
