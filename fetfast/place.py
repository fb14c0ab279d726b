"""Where the arrays of a step are: in the processor's memory, or on a GPU.

One step is the same on both: what is read off faces and frames goes to the place (`upload`), inputs are built there,
networks run there, the paste is done there, and the result comes back (`download`). On a processor nothing moves. On a
GPU that is one copy up and one copy down for each step, and one more up for each new target. Three streams carry them:
copies up, work, copies down; so that one frame comes down while the next one is worked on, and a moving target's next
frame goes up meanwhile.

Who holds what, on a GPU
    An upload's pinned block lasts until its copy is done, its copy on the GPU as long as the tensors that are views of
    it: a step's until the step is given up, a target's until the target is.
    A result's pinned block lasts as long as the function that `download` gives. What that function gives is ordinary
    memory, a copy of its own: it may be kept for ever. So there are as many pinned frames as results under way.
    All of these are PyTorch's, whose allocators keep what is freed for the next frame, no sooner than the copies and
    the work on it are done: after the first frames neither the GPU's driver nor the system is asked for memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from fetfast.backends.gpu import own_stream

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, np.ndarray]
ALIGNED = 256  # bytes: where each array of a block begins
UNDER_WAY = 2  # results: enough for the GPU never to wait, and a live source's frames are dropped before the work


class Host:
    """The processor's memory."""

    def here(self) -> AbstractContextManager[Any]:
        """A context for the work of a step."""
        return nullcontext()

    def upload(self, arrays: Arrays) -> dict[str, Any]:
        """The arrays, as the work of a step takes them."""
        return dict(arrays)

    def empty(self, *shape: int) -> Any:
        """f32, for the work of a step."""
        return np.empty(shape, np.float32)

    def copy(self, array: Any) -> Any:
        """An array of its own: what a network gives is overwritten by its next run."""
        return np.array(array)

    def download(self, array: Any) -> Callable[[], np.ndarray]:
        """A function that waits for the array and gives it. Any thread may call it, and again."""
        return lambda: array

    def wait(self) -> None:
        """Until the work begun is done."""


class Device:
    """A GPU's memory, through PyTorch. device: "cuda" or "cuda:N"."""

    def __init__(self, device: str) -> None:
        import torch

        self.torch, self.device = torch, torch.device(device)
        self.begun: deque[Any] = deque()  # events: the results under way
        self.up, self.work, self.down = (own_stream(self.device, priority=-1) for _ in range(3))

    @contextmanager
    def here(self) -> Iterator[None]:
        """A context for the work of a step, all of it: PyTorch's current stream is that of the work."""
        # what is made here is written to again later: a caller's inference mode would forbid that outside of it
        with self.torch.inference_mode(False), self.torch.cuda.stream(self.work):
            yield

    def upload(self, arrays: Arrays) -> dict[str, Tensor]:
        """The arrays, u8 or f32 of any strides, in one copy. The work that follows waits for it, the caller not."""
        size = sum(map(room, arrays.values()))
        block = self.torch.empty(size, dtype=self.torch.uint8, device="cpu", pin_memory=True)
        for array, to in zip(arrays.values(), views(block, arrays), strict=True):
            np.copyto(to.numpy(), array)
        with self.torch.cuda.stream(self.up):  # which allocates too: what the work has freed, the work may yet read
            there = self.torch.empty_like(block, device=self.device, pin_memory=False)
            there.copy_(block, non_blocking=True)
        self.work.wait_stream(self.up)
        there.record_stream(self.work)
        return dict(zip(arrays, views(there, arrays), strict=True))

    def empty(self, *shape: int) -> Tensor:
        return self.torch.empty(shape, dtype=self.torch.float32, device=self.device)

    def copy(self, array: Tensor) -> Tensor:
        return array.clone()

    def download(self, array: Tensor) -> Callable[[], np.ndarray]:
        """A function that waits for the array and gives a copy of its own. Any thread may call it, and again.
        Waits for older results where UNDER_WAY are not done yet."""
        while len(self.begun) >= UNDER_WAY:
            self.begun.popleft().synchronize()
        block = self.torch.empty(array.shape, dtype=array.dtype, device="cpu", pin_memory=True)
        self.down.wait_stream(self.work)
        with self.torch.cuda.stream(self.down):
            block.copy_(array, non_blocking=True)
            done = self.down.record_event(self.torch.cuda.Event(blocking=True))
        array.record_stream(self.down)
        self.begun.append(done)

        def take() -> np.ndarray:
            done.synchronize()
            return block.numpy().copy()

        return take

    def wait(self) -> None:
        self.work.synchronize()


def views(block: Tensor, arrays: Arrays) -> list[Tensor]:
    """The parts of a block of bytes that stand for the arrays, in their types and shapes."""
    import torch

    views, begin = [], 0
    for array in arrays.values():
        part = block[begin : begin + array.nbytes]
        views.append(part.view(getattr(torch, array.dtype.name)).view(array.shape))
        begin += room(array)
    return views


def room(array: np.ndarray) -> int:
    return -(-array.nbytes // ALIGNED) * ALIGNED


HOST = Host()
