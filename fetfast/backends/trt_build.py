"""ONNX to a TensorRT engine, by NVIDIA TensorRT or by TensorRT for RTX: one API, and the table of what differs.

Networks are strongly typed: the precision of every tensor is the one it has in the graph.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from fetfast.backends import cache
from fetfast.backends.gpu import Gpu
from fetfast.errors import BadInput, Unavailable
from fetfast.plan import Plan
from fetfast.spec import Stage

BATCHES = (1, 4, 16)  # the optimisation profile: least, best, most; and the sizes that a runner captures
RECIPE = "1"  # raise it when the same plan gets built into something else
OLDEST = (10, 13)


@dataclass(frozen=True)
class Library:
    module: str
    title: str
    package: str
    flags: tuple[str, ...]  # builder flags
    capabilities: tuple[str, ...]  # that it can be told to build for without such a GPU; empty: builds only on the GPU
    keeps: str  # what it wants kept between processes: tactics timed while building, or kernels compiled while running
    f32_products: bool  # has matrix products in f32 on every GPU that it runs on
    bf16_deconvolution: bool


# In order of preference. The full TensorRT times kernels on the GPU that will run them; TensorRT for RTX builds for
# any of its GPUs on any machine, and compiles the kernels when they first run.
LIBRARIES = {
    "tensorrt": Library(
        "tensorrt", "TensorRT", "tensorrt", flags=(), capabilities=(), keeps="timing",
        f32_products=True, bf16_deconvolution=True,
    ),
    "tensorrt_rtx": Library(
        "tensorrt_rtx", "TensorRT for RTX", "tensorrt-rtx-cu13",
        flags=("REQUIRE_USER_ALLOCATION",),  # else a stream that runs it cannot be captured
        capabilities=("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"), keeps="runtime",
        f32_products=False, bf16_deconvolution=False,
    ),
}  # fmt: skip


def why_not(library: Library, precision: str, gpu: Gpu | None, capability: str) -> str | None:
    """None, or why `library` cannot build a plan of `precision` here for a GPU of `capability`, and what to do."""
    if not find_spec(library.module):
        return f"{library.title} is not installed; pip install {library.package}"
    try:
        version = import_module(library.module).__version__
    except (ImportError, OSError) as error:  # the package without NVIDIA's libraries, which come from another index
        return f"{library.title} does not load ({' '.join(str(error).split())[:200]})"
    if not library.capabilities and tuple(map(int, version.split(".")[:2])) < OLDEST:
        return f"{library.title} is {version}, expected {OLDEST[0]}.{OLDEST[1]} or newer; pip install -U tensorrt"
    if not library.capabilities and (gpu is None or gpu.capability != capability):
        return f"{library.title} builds only on the GPU that will run it; run this there"
    if library.capabilities and capability not in library.capabilities:
        return f"{library.title} has no compute capability {capability}, only {', '.join(library.capabilities)}"
    if precision == "bf16" and float(capability) < 8:
        return f"a GPU of compute capability {capability} has no bf16; take the plan in fp16"
    return None


def choose(
    precision: str, gpu: Gpu | None, capability: str | None = None, libraries: Iterable[Library] = LIBRARIES.values()
) -> tuple[Library, str]:
    """The first library that can build here for `gpu`, or for a capability by name; and its `target`.

    Raises BadInput for what is no capability, and Unavailable, with each library's reason.
    """
    wanted = capability or (gpu.capability if gpu else None)
    if wanted is None:
        raise Unavailable("there is no NVIDIA GPU here to build for; name one by its compute capability, such as 8.9")
    if not re.fullmatch(r"\d+\.\d", wanted):
        raise BadInput(f"capability is {capability!r}, expected a compute capability such as 8.9")
    reasons = []
    for library in libraries:
        reason = why_not(library, precision, gpu, wanted)
        if reason is None:
            return library, target(library, gpu, wanted)
        reasons.append(reason)
    raise Unavailable("; ".join(reasons))


def target(library: Library, gpu: Gpu | None, capability: str) -> str:
    """What an engine is built for, as its key in the cache says it.

    TensorRT for RTX: the capability, or "portable" (8.0 and newer) for one that is not on its list. TensorRT: the very
    model of `gpu`.
    """
    if library.capabilities:
        return capability if capability in library.capabilities else "portable"
    assert gpu is not None
    return f"{gpu.name} ({capability})"


def key(library: Library, plan: Plan, stage: Stage, built_for: str) -> dict[str, str]:
    """All that an engine depends on. The shapes are in the plan, the batches are not."""
    return {
        "name": plan.name,
        "stage": stage.name,
        "plan": plan.digest,
        "precision": "fp32" if stage.precise else plan.precision,
        "batches": "-".join(map(str, BATCHES)),
        "library": library.title,
        "version": import_module(library.module).__version__,
        "target": built_for,
        "recipe": RECIPE,
    }


def build(
    library: Library,
    plan: Plan,
    stage: Stage,
    built_for: str,  # as `target` gives it
    listen: Callable[[str], None] | None = None,  # hears all that the builder says of layers, types and memory
) -> bytes:
    """The engine of one stage, serialized. Raises Unavailable, with what the library said, where it cannot."""
    trt: Any = import_module(library.module)
    errors: list[str] = []

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(" ".join(message.split())[:300])
            if listen:
                listen(message)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(adapt(library, plan, stage).onnx(stage.name)):
        reasons = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise Unavailable(f"{library.title} cannot read stage {stage.name} of {plan.name}: {'; '.join(reasons)[:300]}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for flag in library.flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if stage.precise or plan.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # which is on by default, and keeps 10 of f32's 23 bits
    profile = builder.create_optimization_profile()
    for tensor in stage.inputs:
        profile.set_shape(tensor.name, *((batch, *tensor.shape) for batch in BATCHES))
    config.add_optimization_profile(profile)
    if built_for in library.capabilities:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{built_for.replace('.', '')}"), 0)
    times = {"library": library.title, "version": trt.__version__, "target": built_for}
    if library.keeps == "timing":
        kept = cache.read("timing", times)
        config.set_timing_cache(config.create_timing_cache(bytes(kept or b"")), ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Unavailable(f"{library.title} cannot build stage {stage.name} of {plan.name}: {'; '.join(errors)[:600]}")
    if library.keeps == "timing":
        cache.keep("timing", times, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def fetch(
    library: Library,
    plan: Plan,
    stage: Stage,
    built_for: str,
    load: Callable[[cache.Content], Any] = lambda content: content,
) -> Any:
    """What `load` makes of the engine of one stage, kept in the cache or built into it. Raises Unavailable."""
    loaded = cache.fetch(
        "tensorrt", key(library, plan, stage, built_for), lambda: build(library, plan, stage, built_for), load, tell
    )
    if loaded is None:
        raise Unavailable(f"{library.title} does not load the engine that it built of stage {stage.name}; see above")
    return loaded


def adapt(library: Library, plan: Plan, stage: Stage) -> Plan:
    """The plan with the graph of `stage` as `library` can take it: the same function, said in other operators.

    TensorRT for RTX has no f32 matrix products on Turing (and need not do them in f32 elsewhere): they become sums of
    products. It cannot read bf16 transposed convolutions: they become f32 ones between casts, which it then runs in
    bf16 all the same.
    """
    import onnx

    model = onnx.ModelProto.FromString(plan.graphs[stage.name])
    typed = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in (*typed.graph.value_info, *typed.graph.input)}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        dtype = types.get(node.input[0]) if node.input else None
        if node.op_type in ("MatMul", "Gemm") and dtype == onnx.TensorProto.FLOAT and not library.f32_products:
            nodes += _sum_of_products(node)
        elif node.op_type == "ConvTranspose" and dtype == onnx.TensorProto.BFLOAT16 and not library.bf16_deconvolution:
            nodes += _in_f32(node)
        else:
            nodes.append(node)
    if len(nodes) == len(model.graph.node):
        return plan
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return replace(plan, graphs={**plan.graphs, stage.name: model.SerializeToString()})


def _sum_of_products(node: Any) -> list[Any]:
    """A [..., n, k] times B [..., k, m]: A [..., n, k, 1] * B [..., 1, k, m], summed over k. For Gemm, also + C."""
    from onnx import helper

    name, (a, b, *bias) = node.output[0], node.input
    options: Mapping[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if options.get("transA") or options.get("alpha", 1) != 1 or options.get("beta", 1) != 1:
        raise Unavailable(f"node {node.name} is a scaled or transposed product, which is not taken apart yet")
    transposed = bool(options.get("transB"))  # B is [m, k]: A [n, 1, k] * B [m, k], summed over k
    axes = {"unsqueeze_a": -2 if transposed else -1, "unsqueeze_b": -3, "reduce": -1 if transposed else -2}
    constants = [
        helper.make_node("Constant", [], [f"{name}.{axis}"], value=_int64(value)) for axis, value in axes.items()
    ]
    lifted = [helper.make_node("Unsqueeze", [a, f"{name}.unsqueeze_a"], [f"{name}.a"])]
    if not transposed:
        lifted.append(helper.make_node("Unsqueeze", [b, f"{name}.unsqueeze_b"], [f"{name}.b"]))
    total = f"{name}.sum" if bias else name
    return [
        *constants,
        *lifted,
        helper.make_node("Mul", [f"{name}.a", b if transposed else f"{name}.b"], [f"{name}.products"]),
        helper.make_node("ReduceSum", [f"{name}.products", f"{name}.reduce"], [total], keepdims=0),
        *([helper.make_node("Add", [total, *bias], [name])] if bias else []),
    ]


def _in_f32(node: Any) -> list[Any]:
    """The node between casts from bf16 to f32 and back."""
    from onnx import TensorProto, helper

    casts = [helper.make_node("Cast", [i], [f"{node.output[0]}.{i}"], to=TensorProto.FLOAT) for i in node.input]
    wide = type(node)()
    wide.CopyFrom(node)
    del wide.input[:], wide.output[:]
    wide.input.extend(cast.output[0] for cast in casts)
    wide.output.append(f"{node.output[0]}.f32")
    return [*casts, wide, helper.make_node("Cast", wide.output, node.output, to=TensorProto.BFLOAT16)]


def tell(line: str) -> None:
    print(f"fetfast: {line}", file=sys.stderr, flush=True)


def _int64(value: int) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array([value], np.int64))
