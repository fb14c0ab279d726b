"""What stands in for `TorchMemory` on a machine without a GPU."""

from contextlib import nullcontext

import numpy as np
import torch


class HostMemory:
    """Stands in for a GPU's memory; a captured graph is the work itself."""

    own = None
    device = torch.device("cpu")

    def __init__(self, index=0):
        self.here = nullcontext

    def zeros(self, shape):
        return torch.zeros(shape, device=self.device)

    def address(self, array):
        return array.data_ptr()

    def pinned(self, shape):
        return np.zeros(shape, np.float32)

    def copy_in(self, array, host):
        array.copy_(torch.from_numpy(host))

    def copy_out(self, host, array):
        torch.from_numpy(host).copy_(array)

    def capture(self, work):
        return work

    def wait(self):
        pass
