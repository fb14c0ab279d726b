"""The NVIDIA GPUs of this machine, as the driver tells them, and memory on one, owned by CuPy or PyTorch.

What the driver tells needs no library: it is asked through ctypes, so that a machine without a GPU answers at once.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from threading import Lock
from typing import Any, Protocol

import numpy as np

from fetfast.errors import BadInput, Unavailable

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
COPY_IN, COPY_OUT = 1, 2  # cudaMemcpyKind
NON_BLOCKING = 1  # CUstream_flags
CAPTURING = Lock()


@dataclass(frozen=True)
class Gpu:
    index: int
    name: str
    capability: str  # compute capability, "8.9"


@cache
def driver_version() -> str | None:
    """The newest CUDA that the installed driver runs, "13.0"; None where there is no driver."""
    cuda = _driver()
    if cuda is None:
        return None
    version = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver shows this process."""
    cuda = _driver()
    count = ctypes.c_int()
    if cuda is None or cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    found = []
    for index in range(count.value):
        name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGetName(name, len(name), index)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, index)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, index)
        found.append(Gpu(index, name.value.decode(), f"{major.value}.{minor.value}"))
    return tuple(found)


def find(device: str | None) -> Gpu:
    """The GPU that `device` ("cuda", "cuda:N" or None) means. Raises BadInput, and Unavailable where it is absent."""
    kind, _, index = (device or "cuda").partition(":")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise BadInput(f"device is {device!r}, expected cuda or cuda:N")
    found = gpus()
    if int(index or 0) < len(found):
        return found[int(index or 0)]
    if not found and driver_version() is None:
        raise Unavailable("there is no NVIDIA driver here; install one, or take another backend")
    raise Unavailable(f"the driver shows {len(found)} GPUs, expected one at index {index or 0}; see nvidia-smi")


class Memory(Protocol):
    """Arrays and one stream of its own on a GPU. In `here`, every copy and launch goes onto that stream."""

    @property
    def stream(self) -> int:
        """The current stream's handle, as CUDA knows it: in `here` its own, in `capture` the one that is captured."""

    def here(self) -> AbstractContextManager[Any]:
        """A context in which that GPU, and PyTorch's stream there, are the current ones."""

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """f32 on the GPU."""

    def address(self, array: Any) -> int: ...

    def pinned(self, shape: tuple[int, ...]) -> np.ndarray:
        """f32 on the host, where the GPU can reach it while the processor goes on."""

    def copy_in(self, array: Any, host: np.ndarray) -> None: ...

    def copy_out(self, host: np.ndarray, array: Any) -> None: ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """What `work` puts onto the current stream, as one CUDA graph: the function returned launches it, PyTorch's
        graphs on PyTorch's current stream."""

    def wait(self) -> None:
        """Until all that is on the stream is done."""


def own_stream(device: Any, priority: int = 0) -> Any:
    """A PyTorch stream on `device` that nobody else has: of PyTorch's own there are 32, which it hands out again.

    It is not destroyed, for PyTorch's allocator may yet record an event on it: once given up, it is the next one's.
    """
    import torch

    idle = _idle_streams(device.index, priority)
    try:
        handle = idle.pop()
    except IndexError:
        handle = _new_stream(device.index, priority)
    stream = torch.cuda.ExternalStream(handle, device=device)
    weakref.finalize(stream, idle.append, handle)
    return stream


@cache
def _idle_streams(index: int, priority: int) -> list[int]:
    return []


def _new_stream(index: int, priority: int) -> int:
    """In the context that CUDA's runtime, and so PyTorch, has on that GPU; it does not wait for the default stream."""
    cuda, context, stream = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
    assert cuda is not None
    calls = (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), index),
        lambda: cuda.cuCtxPushCurrent_v2(context),
        lambda: cuda.cuStreamCreateWithPriority(ctypes.byref(stream), NON_BLOCKING, priority),
        lambda: cuda.cuCtxPopCurrent_v2(ctypes.byref(context)),
    )
    if code := next(filter(None, (call() for call in calls)), 0):
        raise Unavailable(f"the driver makes no stream on GPU {index} (CUresult {code}); see nvidia-smi")
    return stream.value or 0


def memory(gpu: Gpu) -> Memory:
    """Memory on `gpu`: PyTorch's where it has CUDA, so that frames can stay there; else CuPy's. Raises Unavailable."""
    if find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            return TorchMemory(gpu.index)
    if find_spec("cupy"):
        return CupyMemory(gpu.index)
    raise Unavailable("neither CuPy nor a PyTorch with CUDA is installed; pip install cupy-cuda13x")


class CupyMemory:
    def __init__(self, index: int):
        import cupy
        import cupyx

        self.cupy, self.pinned_zeros = cupy, cupyx.zeros_pinned
        self.here = lambda: cupy.cuda.Device(index)
        with self.here():
            self.own = cupy.cuda.Stream(non_blocking=True)

    @property
    def stream(self) -> int:
        return self.own.ptr

    def zeros(self, shape: tuple[int, ...]) -> Any:
        with self.own:
            return self.cupy.zeros(shape, np.float32)

    def address(self, array: Any) -> int:
        return array.data.ptr

    def pinned(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.pinned_zeros(shape, np.float32)

    def copy_in(self, array: Any, host: np.ndarray) -> None:
        self.cupy.cuda.runtime.memcpyAsync(array.data.ptr, host.ctypes.data, host.nbytes, COPY_IN, self.stream)

    def copy_out(self, host: np.ndarray, array: Any) -> None:
        self.cupy.cuda.runtime.memcpyAsync(host.ctypes.data, array.data.ptr, host.nbytes, COPY_OUT, self.stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        with self.own:
            self.own.begin_capture(self.cupy.cuda.runtime.streamCaptureModeThreadLocal)
            work()
            graph = self.own.end_capture()
        return lambda: graph.launch(self.own)

    def wait(self) -> None:
        self.own.synchronize()


class TorchMemory:
    def __init__(self, index: int):
        import torch

        self.torch, self.device = torch, torch.device("cuda", index)
        self.own = own_stream(self.device)

    @property
    def stream(self) -> int:
        return self.torch.cuda.current_stream(self.device).cuda_stream

    @contextmanager
    def here(self) -> Iterator[None]:
        # What is made here may be read by work under way on the caller's stream, and the other way round.
        self.own.wait_stream(self.torch.cuda.current_stream(self.device))
        # What is made here is written to again later: a caller's inference mode would forbid that outside of it.
        with self.torch.inference_mode(False), self.torch.cuda.stream(self.own):
            yield

    def zeros(self, shape: tuple[int, ...]) -> Any:
        return self.torch.zeros(shape, device=self.device)

    def address(self, array: Any) -> int:
        return array.data_ptr()

    def pinned(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.torch.zeros(shape, device="cpu", pin_memory=True).numpy()

    def copy_in(self, array: Any, host: np.ndarray) -> None:
        array.copy_(self.torch.from_numpy(host), non_blocking=True)

    def copy_out(self, host: np.ndarray, array: Any) -> None:
        self.torch.from_numpy(host).copy_(array, non_blocking=True)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        # A stream for each graph, on which nothing ran before: so cuBLAS's workspace is taken from the graph's own
        # memory. It belongs to a stream, and PyTorch drops it with any graph of that stream (pytorch/pytorch#193402).
        graph, stream = self.torch.cuda.CUDAGraph(), own_stream(self.device)
        # PyTorch waits for the whole device first, which must not be while another thread captures
        with CAPTURING, self.torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()

        return partial(_replay, graph, stream)

    def wait(self) -> None:
        self.own.synchronize()


def _replay(graph: Any, stream: Any) -> None:
    """stream: that of the capture, which must not be another's while the graph lives."""
    graph.replay()


@cache
def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
