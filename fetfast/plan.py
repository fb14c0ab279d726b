"""Plans: one `.plan` file holds a family's networks for one precision. No code is in it, and reading it needs no torch.

The file is a safetensors file.
    __metadata__["fetfast"]     JSON: format, crop, spec, precision, provenance, metrics, random_weights
    "<stage>.<parameter>"       the weights, F32, F16, BF16 or I8, under the names of the module's state dict
    "graph/<stage>"             U8: the stage as an ONNX model whose weights are left out
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fetfast import onnx_graph
from fetfast.errors import BadInput, BadPlan, Unavailable
from fetfast.files import written
from fetfast.spec import PRECISIONS, Spec, Stage

FORMAT = 2
CROP = "upright square, units 0 ... 1"  # the convention of spec.py; another one needs another plan
KEY = "fetfast"
GRAPH = "graph/"
SHIPPED = Path(__file__).parent / "plans"
BEST = ("unet_fp16.plan", "flow_fp32.plan")  # what ships, best first
HEADER_LIMIT = 1 << 20

DTYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "int8": "I8"}


@dataclass(frozen=True, eq=False)
class Plan:
    """A family's networks at one precision: `Plan.open` reads one, `fetfast.build` makes one."""

    spec: Spec
    precision: str  # "fp32", "fp16", "bf16" or "int8"
    weights: Mapping[str, np.ndarray]  # "<stage>.<parameter>"
    graphs: Mapping[str, bytes]  # stage name -> ONNX model without its weights
    provenance: Mapping[str, Any] = field(default_factory=dict)  # command, seed, commit
    metrics: Mapping[str, Any] = field(default_factory=dict)
    random_weights: bool = False
    path: Path | None = None  # the file that it was read from

    @property
    def name(self) -> str:
        return f"{self.spec.family}_{self.precision}"

    @property
    def header(self) -> dict[str, Any]:
        """What the file says beside weights and graphs, ready for JSON."""
        return {
            "format": FORMAT,
            "crop": CROP,
            "spec": self.spec.to_json(),
            "precision": self.precision,
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
            "random_weights": self.random_weights,
        }

    @staticmethod
    def best(task: str = "transfer") -> Path:
        """The best plan that ships and does this task. Raises Unavailable where none does."""
        for name in Plan.doing(task):
            return SHIPPED / name
        raise Unavailable(f"no plan that ships does {task}; train and build one (fetfast train --help), and give it")

    @staticmethod
    def doing(task: str) -> Iterator[str]:
        """File names of the plans that ship and do this task, the best first."""
        others = sorted(plan.name for plan in SHIPPED.glob("*.plan") if plan.name not in BEST)
        for name in [*(name for name in BEST if (SHIPPED / name).exists()), *others]:
            if task in Plan.open(SHIPPED / name).spec.tasks:
                yield name

    @staticmethod
    def open(path: Path | str) -> Plan:
        """Read a plan: from the file `path`, else the plan of that name that ships (".plan" may be left out).

        The weights are views of the mapped file. Raises BadPlan where the file is not wholly and exactly a plan. The
        graphs are checked when they are used: `check` does that ahead.
        """
        return _read(_find(Path(path)))

    def save(self, path: Path | str) -> None:
        """Write the plan to `path`: aside first, then in place, so that no half of one is ever seen there.

        Raises BadInput where the file cannot be written.
        """
        self.check()
        path = Path(path)
        if path.exists() and not path.is_file():  # renaming would put a file in a device's place
            raise BadInput(f"save(): {path} is a folder, a pipe or a device, expected a file name")
        with written(path) as file:
            file.write_bytes(self._bytes())

    def _bytes(self) -> bytes:
        from safetensors.numpy import save

        graphs = {GRAPH + stage: np.frombuffer(model, np.uint8) for stage, model in self.graphs.items()}
        header = json.dumps(self.header, allow_nan=False)
        return save({**self.weights, **graphs}, metadata={KEY: header})

    @cached_property
    def digest(self) -> str:
        """sha256 of the file, in hex: what caches are keyed by."""
        if self.path is None:
            return hashlib.sha256(self._bytes()).hexdigest()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def stage_weights(self, stage: str) -> dict[str, np.ndarray]:
        """The weights of one stage, under the names of its module's state dict."""
        return {name.removeprefix(stage + "."): w for name, w in self.weights.items() if name.startswith(stage + ".")}

    def onnx(self, stage: str) -> bytes:
        """One stage as an ONNX model, whole. Raises BadPlan where the graph does not fit the spec and the weights."""
        weights = self._checked(self.spec.stage(stage))
        return onnx_graph.join(self.graphs[stage], weights)

    def check(self) -> None:
        """Raises BadPlan where a graph does not fit the spec and the weights, or a weight is no finite number."""
        for stage in self.spec.stages:
            self._checked(stage)

    def _checked(self, stage: Stage) -> dict[str, np.ndarray]:
        weights = self.stage_weights(stage.name)
        onnx_graph.check(self.graphs[stage.name], stage, weights)
        off = [name for name, w in weights.items() if w.dtype.kind != "i" and not np.isfinite(w.astype("f4")).all()]
        if off:
            raise BadPlan(f"{self.name}: stage {stage.name} has weights that are no numbers: {', '.join(off[:4])}")
        return weights


def _find(path: Path) -> Path:
    shipped = sorted(plan.name for plan in SHIPPED.glob("*.plan"))
    if path.is_dir():
        raise BadPlan(f"{path} is a folder, expected a plan file or one of those that ship: {', '.join(shipped)}")
    if path.is_file():
        return path
    if path.exists():  # reading a pipe or a device may never end
        raise BadPlan(f"{path} is a pipe or a device, expected a plan file")
    for name in (path.name, path.name + ".plan"):
        if path.parent == Path() and name in shipped:
            return SHIPPED / name
    raise BadPlan(f"{path}: no such file, and no plan of that name ships; those that ship: {', '.join(shipped)}")


def _read(path: Path) -> Plan:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            head = file.read(16)
        size = int.from_bytes(head[:8], "little")
        if not 2 <= size <= HEADER_LIMIT:
            raise BadPlan(f"{path} {_what_it_is(head)}")
        with safe_open(path, "np") as container:
            names = container.offset_keys()  # in the file's order, in which the container leaves no gap
            slices = {name: container.get_slice(name) for name in names}
            shapes = {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
            header = _header(path, container.metadata() or {})
    except SafetensorError as error:
        raise BadPlan(f"{path} is damaged ({error}); fetch or build it again") from error
    except (OSError, ValueError) as error:
        raise BadPlan(f"{path} cannot be read as a plan: {error}") from error

    file_bytes = np.memmap(path, np.uint8, "r")
    tensors, at = {}, 8 + size
    for name, (dtype, shape) in shapes.items():
        if dtype not in ("U8", *DTYPES.values()) or not all(shape):
            raise BadPlan(
                f"{path}: tensor {name} is {dtype} {list(shape)}, expected {', '.join(DTYPES.values())}, no size of 0"
            )
        kind = _dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        tensors[name] = file_bytes[at : at + count].view(kind).reshape(shape)
        at += count
    return _assemble(path, header, tensors)


def _assemble(path: Path, header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Plan:
    try:
        spec = Spec.from_json(header["spec"])
    except ValueError as error:
        raise BadPlan(f"{path}: {error}") from error
    precision = header["precision"]
    if precision not in PRECISIONS:
        raise BadPlan(f"{path}: precision is {str(precision)[:40]!r}, expected one of {', '.join(PRECISIONS)}")

    graphs = {stage.name: tensors.pop(GRAPH + stage.name, None) for stage in spec.stages}
    for stage, model in graphs.items():
        if model is None or model.dtype != np.uint8 or model.ndim != 1:
            raise BadPlan(f"{path}: {GRAPH}{stage} is missing or not U8 of one axis")
    precise = {stage.name: stage.precise for stage in spec.stages}
    for name, tensor in tensors.items():
        stage = name.partition(".")[0]
        if stage not in precise:
            raise BadPlan(f"{path}: tensor {name} belongs to none of the stages {', '.join(precise)}")
        allowed = {"F32"} if precise[stage] else {"F32", DTYPES[precision]}
        if tensor.dtype not in {_dtype(dtype) for dtype in allowed}:
            raise BadPlan(f"{path}: tensor {name} is {tensor.dtype}, expected {' or '.join(sorted(allowed))}")
    return Plan(
        spec, precision, tensors, {stage: model.tobytes() for stage, model in graphs.items() if model is not None},
        header["provenance"], header["metrics"], header["random_weights"], path,
    )  # fmt: skip


def _header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if KEY not in metadata:
        raise BadPlan(f"{path} holds tensors but no plan; make one of them: fetfast build FAMILY --weights {path}")

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} in the header")

    try:
        header = json.loads(metadata[KEY], parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BadPlan(f"{path}: the header is no JSON ({error})") from error
    version = header.get("format") if isinstance(header, dict) else None
    if version != FORMAT:
        raise BadPlan(f"{path} is a plan of format {version!r}, this version reads {FORMAT}; build it again")
    kinds = {"spec": dict, "precision": str, "provenance": dict, "metrics": dict, "random_weights": bool}
    wrong = [key for key, kind in kinds.items() if type(header.get(key)) is not kind]
    if wrong or set(header) - set(kinds) != {"format", "crop"}:
        raise BadPlan(f"{path}: the header must have exactly format, crop, {', '.join(kinds)}; wrong: {wrong}")
    if header["crop"] != CROP:
        raise BadPlan(f"{path} crops as {str(header['crop'])[:40]!r}, expected {CROP!r}; build it again")
    return header


def _what_it_is(head: bytes) -> str:
    if head[:4] in (b"ftrt", b"ptrt", b"vtrt"):
        return "is a raw TensorRT engine, bound to one machine; give the .plan that it was built from"
    if head[:2] == b"PK" or head[:1] == b"\x80":
        return "is a PyTorch or zip file; save its weights as .safetensors, then: fetfast build FAMILY --weights FILE"
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42"):
        return "is an ONNX model; give a .plan, made by: fetfast build FAMILY"
    if len(head) < 16:
        return "is too short for a plan; fetch or build it again"
    return f"is not a plan, or its header is over {HEADER_LIMIT} bytes; make one by: fetfast build FAMILY"


def _dtype(name: str) -> np.dtype[Any]:
    if name == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}[name])
