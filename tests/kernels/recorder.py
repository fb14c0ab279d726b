"""A CUDA graph on the processor: what a GPU would be given to do is written down while it is done, and can be done
again on the same memory. So a test can count the nodes of a graph, and see that a graph depends on nothing but the
memory that it was captured with."""

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import ClassVar
from unittest.mock import patch

import torch
from fetfast.kernels import frame
from hostmemory import HostMemory
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import InterpretedFunction

ALLOCATIONS = (
    "empty",
    "new_empty",
    "empty_like",
    "empty_strided",
    "new_empty_strided",
    "lift_fresh",
    "detach",
    "alias",
)


class Recorder(TorchDispatchMode):
    """nodes: (kind, name) in order; a kind is "kernel" (ours), "operator" (PyTorch's) or "copy"."""

    def __init__(self):
        super().__init__()
        self.nodes, self.again = [], []

    def count(self, *kinds):
        return sum(kind in kinds for kind, _ in self.nodes)

    def add(self, kind, name, work):
        self.nodes.append((kind, name))
        self.again.append(work)

    @torch.inference_mode()
    def replay(self):
        for work in self.again:
            work()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        schema, name = func._schema, func._schema.name.split("::")[1]
        aliases = [r.alias_info for r in schema.returns]
        view = any(info is not None and not info.is_write for info in aliases) or name == "_unsafe_view"
        if view or name in ALLOCATIONS or not any(isinstance(x, torch.Tensor) and x.numel() for x in tree_leaves(made)):
            return made
        kind = "copy" if name in ("copy_", "clone", "_to_copy") else "operator"
        if any(info is not None and info.is_write for info in aliases):
            self.add(kind, name, partial(func, *args, **kwargs))
        else:

            def work():
                for to, x in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(x, torch.Tensor):
                        to.copy_(x)

            self.add(kind, name, work)
        return made


ACTIVE: list[Recorder] = []


def noted(name, function):
    """`function` as a kernel: written down where something is recorded."""

    def launched(*args, **kwargs):
        def work():
            with _disable_current_modes():
                return function(*args, **kwargs)

        if ACTIVE:
            ACTIVE[-1].add("kernel", name, work)
        return work()

    return launched


@contextmanager
def recording():
    """A `Recorder` of all that is launched in the block: Triton's kernels, ours for frames, PyTorch's operators."""
    recorder, run, launch = Recorder(), InterpretedFunction.run, frame.launch

    def interpreted(function, *args, **kwargs):
        return noted(function.fn.__name__, run)(function, *args, **kwargs)

    def launched(name, *rest):
        noted(name, launch)(name, *rest)

    with ExitStack() as stack:
        stack.enter_context(patch.object(InterpretedFunction, "run", interpreted))
        stack.enter_context(patch.object(frame, "launch", launched))
        stack.enter_context(recorder)
        ACTIVE.append(recorder)
        stack.callback(ACTIVE.pop)
        yield recorder


class CapturingMemory(HostMemory):
    """Stands in for `TorchMemory`. `captured`: the recorders of all graphs, in order."""

    captured: ClassVar[list[Recorder]] = []

    def capture(self, work):
        with recording() as recorder:
            work()
        CapturingMemory.captured.append(recorder)
        return recorder.replay
