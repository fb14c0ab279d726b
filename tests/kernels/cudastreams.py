"""CUDA, as far as `Device` knows it, on the CPU: a copy is done when somebody waits for it, and no sooner."""

import gc
import weakref
from contextlib import contextmanager
from functools import partial

import torch
from fetfast.kernels import teeth
from hostmemory import HostMemory

from fetfast import place
from fetfast.ops import frame_gpu, heatmap_gpu
from fetfast.ops.crop import crop
from fetfast.ops.heatmap import contours, first_flow
from fetfast.ops.paste import paste
from fetfast.ops.teeth import filled


class Streams:
    """What has been copied, and when."""

    def __init__(self):
        self.current, self.ups, self.downs, self.pinned, self.recorded = None, 0, 0, [], []

    def alive(self):
        gc.collect()
        return sum(block() is not None for block in self.pinned)


class Stream:
    def __init__(self, device, priority):
        self.waiting, self.waited_for = [], []

    def run(self):
        while self.waiting:
            self.waiting.pop(0)()

    def wait_stream(self, other):
        self.waited_for.append(other)
        other.run()

    def record_event(self, event):
        event.stream = self
        return event


class Event:
    def __init__(self, blocking):
        self.stream = None

    def synchronize(self):
        self.stream.run()


def stand_in(monkeypatch):
    """`Device` and the ops' GPU forms on the CPU. Fresh memory is poisoned."""
    with torch.device("meta"):
        torch.empty(1)  # PyTorch learns here, once and for all, which functions this context is for
    seen, empty, copy = Streams(), torch.empty, torch.Tensor.copy_

    @contextmanager
    def on(stream):
        before, seen.current = seen.current, stream
        yield
        seen.current = before

    def poisoned(*size, pin_memory=False, **options):
        block = empty(*size, **options)
        block.fill_(float("nan") if block.is_floating_point() else 205)
        if pin_memory:
            seen.pinned.append(weakref.ref(block))
        return block

    def later(to, what, non_blocking=False):
        if not non_blocking:
            return copy(to, what)
        if what.dtype == torch.uint8 and what.ndim == 1:
            seen.ups += 1
        else:
            seen.downs += 1
        seen.current.waiting.append(partial(copy, to, what))
        return to

    for name, value in (("Event", Event), ("stream", on)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(place, "own_stream", Stream)
    monkeypatch.setattr(place, "TorchMemory", HostMemory)
    monkeypatch.setattr(torch, "empty", poisoned)
    monkeypatch.setattr(torch.Tensor, "copy_", later)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: seen.recorded.append(stream))

    def numpy(tensor):
        assert seen.current is not None, "work on PyTorch's own stream"
        return None if tensor is None else tensor.numpy()

    def crop_there(frame, M, size, taps, flow, out):
        crop(numpy(frame), M, size, numpy(flow), numpy(out))

    def paste_there(frame, M, to_crop, feather, flow, mask, color, light, out, box):
        return torch.from_numpy(paste(numpy(frame), M, *map(numpy, (flow, mask, color)), light=numpy(light)))

    def contours_there(points, size, out, edges, reach):
        contours(numpy(points), size, numpy(out), numpy(edges))
        return out

    def fill_there(points, upper, lower, behind, out):
        numpy(out)[:, 0] = filled(numpy(points), out.shape[-1]) * (1 - numpy(out)[:, 0])

    def flow_there(source, driven, size, out, widths, epsilon):
        first_flow(numpy(source), numpy(driven), size, numpy(out))
        return out

    monkeypatch.setattr(frame_gpu, "crop", crop_there)
    monkeypatch.setattr(frame_gpu, "paste", paste_there)
    monkeypatch.setattr(heatmap_gpu, "contours", contours_there)
    monkeypatch.setattr(heatmap_gpu, "first_flow", flow_there)
    monkeypatch.setattr(teeth, "fill", fill_there)
    return seen
