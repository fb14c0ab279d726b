"""Stand-ins for TensorRT and CuPy on a machine without a GPU.

They have the published API's names, hold to its rules, write down what is called, and compute: an engine is its ONNX
model, run by onnxruntime on the memory that the addresses point to. A stream under capture records, as CUDA's does.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

STREAMS: dict[int, Stream] = {}


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(members)
    return made


# ---- CuPy


class Stream:
    def __init__(self, non_blocking: bool = False):
        assert non_blocking, "a stream that waits for the default stream cannot be captured beside other work"
        self.ptr = 1000 + len(STREAMS)
        self.recording: list[Callable[[], None]] | None = None
        STREAMS[self.ptr] = self

    def put(self, work: Callable[[], None]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def begin_capture(self, mode: int | None = None) -> None:
        assert mode == 1, "captures must be thread-local"
        self.recording = []

    def end_capture(self) -> SimpleNamespace:
        recorded, self.recording = self.recording, None
        return SimpleNamespace(launch=lambda stream: [work() for work in recorded], recorded=recorded)

    def synchronize(self) -> None:
        assert self.recording is None, "cudaErrorStreamCaptureUnsupported"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Device:
    def __init__(self, index: int):
        self.index = index

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Array:
    def __init__(self, shape: tuple[int, ...]):
        self.memory = np.full(shape, np.nan, np.float32)
        self.data = SimpleNamespace(ptr=self.memory.ctypes.data)


def memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    assert kind in (1, 2)
    STREAMS[stream].put(lambda: ctypes.memmove(dst, src, size) and None)


def cupy() -> dict[str, ModuleType]:
    """The modules to put into sys.modules."""
    runtime = SimpleNamespace(memcpyAsync=memcpy_async, streamCaptureModeThreadLocal=1)
    return {
        "cupy": module(
            "cupy",
            zeros=lambda shape, dtype: Array(shape),
            cuda=SimpleNamespace(Device=Device, Stream=Stream, runtime=runtime),
        ),
        "cupyx": module("cupyx", zeros_pinned=np.zeros),
    }


# ---- TensorRT. Classes and members are the real ones' (a test compares them with the real module).


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Logger(ILogger):
    def __init__(self, severity: int):
        self.severity = severity


class NetworkDefinitionCreationFlag:
    STRONGLY_TYPED = 0


class BuilderFlag:
    TF32, REQUIRE_USER_ALLOCATION = "TF32", "REQUIRE_USER_ALLOCATION"


class ProfilingVerbosity:
    DETAILED = "DETAILED"


class ComputeCapability:
    SM75, SM80, SM86, SM89, SM120, SM121 = "75", "80", "86", "89", "120", "121"


class DynamicShapesKernelSpecializationStrategy:
    EAGER = "EAGER"


class INetworkDefinition:
    def __init__(self, flags: int):
        assert flags == 1, "precision lives in the graph"
        self._onnx = b""


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, name: str, min: Any, opt: Any, max: Any) -> None:
        self._shapes[name] = min, opt, max


class ITimingCache:
    def __init__(self, content: bytes):
        self._content = content

    def serialize(self) -> bytes:
        return self._content + b"timed;"


class IBuilderConfig:
    def __init__(self) -> None:
        self._flags = {BuilderFlag.TF32}
        self._profile: IOptimizationProfile | None = None
        self._capability: str | None = None
        self._timing: ITimingCache | None = None
        self.profiling_verbosity: str | None = None
        self.num_compute_capabilities = 0

    def set_flag(self, flag: str) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> None:
        self._profile = profile

    def set_compute_capability(self, capability: str, index: int) -> None:
        assert self.num_compute_capabilities == 1 and index == 0
        self._capability = capability

    def create_timing_cache(self, serialized: bytes) -> ITimingCache:
        return ITimingCache(serialized)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> None:
        assert not ignore_mismatch
        self._timing = cache

    def get_timing_cache(self) -> ITimingCache | None:
        return self._timing


class OnnxParser:
    num_errors = 0

    def __init__(self, network: INetworkDefinition, logger: ILogger):
        self._network = network

    def parse(self, model: bytes) -> bool:
        self._network._onnx = model
        return True

    def get_error(self, index: int) -> Any: ...


class IRuntimeCache:
    def __init__(self) -> None:
        self._kernels: set[str] = set()

    def serialize(self) -> bytes:
        return json.dumps(sorted(self._kernels)).encode()

    def deserialize(self, blob: bytes) -> bool:
        self._kernels = set(json.loads(blob))
        return True


class IRuntimeConfig:
    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy: str | None = None
        self._cache: IRuntimeCache | None = None

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> None:
        self._cache = cache


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, config: IRuntimeConfig | None):
        self._engine, self._config = engine, config
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._warm = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        least, _, most = self._engine._about["profile"][name]
        assert len(shape) == len(most) and all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))
        self._shapes[name] = shape

    def set_tensor_address(self, name: str, memory: int) -> None:
        self._addresses[name] = memory

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._warm or STREAMS[stream_handle].recording is None, "the first run allocates: not under capture"
        self._warm = True
        if self._config is not None and self._config._cache is not None:
            assert self._config.dynamic_shapes_kernel_specialization_strategy == "EAGER"
            self._config._cache._kernels.add(str(sorted(self._shapes.items())))
        STREAMS[stream_handle].put(self._compute)
        return True

    def _compute(self) -> None:
        session = self._engine._session
        inputs = {name: _view(self._addresses[name], shape).copy() for name, shape in self._shapes.items()}
        names = [o.name for o in session.get_outputs()]
        for name, result in zip(names, session.run(names, inputs), strict=True):
            _view(self._addresses[name], result.shape)[:] = result


class ICudaEngine:
    def __init__(self, about: dict[str, Any], onnx: bytes):
        import onnxruntime

        self._about = about
        self._session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])

    def create_execution_context(self, runtime_config: IRuntimeConfig | None = None) -> IExecutionContext:
        return IExecutionContext(self, runtime_config)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()


def tensorrt(name: str, version: str) -> ModuleType:
    """The module `tensorrt` or `tensorrt_rtx`. Its `built` is the list of the configurations built so far."""
    built: list[dict[str, Any]] = []

    class Builder:
        def __init__(self, logger: ILogger):
            self._logger = logger

        def create_network(self, flags: int) -> INetworkDefinition:
            return INetworkDefinition(flags)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes:
            assert config._profile is not None
            about = {
                "version": version,
                "flags": sorted(config._flags),
                "capability": config._capability,
                "profile": config._profile._shapes,
                "timing": config._timing is not None,
            }
            built.append(about)
            return json.dumps(about).encode() + b"\n" + network._onnx

    class Runtime:
        def __init__(self, logger: ILogger):
            pass

        def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
            head, _, onnx = bytes(serialized_engine).partition(b"\n")
            about = json.loads(head) if head.startswith(b"{") else {}
            return ICudaEngine(about, onnx) if about.get("version") == version else None

    public = {k: v for k, v in globals().items() if isinstance(v, type) and v.__module__ == __name__}
    for cupys in ("Stream", "Device", "Array"):
        del public[cupys]
    return module(name, __version__=version, built=built, Builder=Builder, Runtime=Runtime, **public)


def _view(address: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape)
