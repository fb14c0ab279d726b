"""CUDA, as far as `Device` knows it, on the CPU: a copy is done when somebody waits for it, and no sooner."""

import gc
import weakref
from contextlib import contextmanager
from functools import partial

import hostframe
import torch
from fetfast.kernels import frame
from recorder import CapturingMemory, noted

from fetfast import cudagraph, place
from fetfast.ops import heatmap_gpu, teeth
from fetfast.ops.heatmap import contours, first_flow
from fetfast.ops.teeth import teeth_map


class Streams:
    """What has been copied, and when."""

    def __init__(self):
        self.current = self.work = None
        self.frames, self.blocks, self.downs, self.pinned, self.recorded = 0, 0, 0, [], []

    @property
    def ups(self):
        """Copies up: frames on a stream of their own, blocks of all else where the work is."""
        return self.frames + self.blocks

    def device(self):
        made = place.Device("cpu")
        self.work = made.work
        return made

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
        if seen.current is seen.work:  # where all else is done at once as well
            seen.blocks += 1
            return copy(to, what)
        if what.dtype == torch.uint8 and what.ndim == 1:
            seen.frames += 1
        else:
            seen.downs += 1
        seen.current.waiting.append(partial(copy, to, what))
        return to

    for name, value in (("Event", Event), ("stream", on)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(place, "own_stream", Stream)
    monkeypatch.setattr(cudagraph, "TorchMemory", CapturingMemory)
    monkeypatch.setattr(frame, "launch", hostframe.launch)
    monkeypatch.setattr(torch, "empty", poisoned)
    monkeypatch.setattr(torch.Tensor, "copy_", later)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: seen.recorded.append(stream))

    def numpy(tensor):
        assert seen.current is not None, "work on PyTorch's own stream"
        return None if tensor is None else tensor.numpy()

    def contours_there(points, size, out, edges, reach):
        contours(numpy(points), size, numpy(out), numpy(edges))
        return out

    def teeth_there(target, driven, size, out):
        numpy(out)[:] = teeth_map(numpy(target), numpy(driven), size)
        return out

    def flow_there(source, driven, size, out, widths, epsilon):
        first_flow(numpy(source), numpy(driven), size, numpy(out))
        return out

    monkeypatch.setattr(heatmap_gpu, "contours", noted("contours", contours_there))
    monkeypatch.setattr(heatmap_gpu, "first_flow", noted("first_flow", flow_there))
    monkeypatch.setattr(teeth, "_drawn_there", noted("teeth", teeth_there))
    return seen
