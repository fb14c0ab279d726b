"""Discriminators: networks that tell real pictures from made ones, trained alongside and never shipped."""

from __future__ import annotations

import torch.nn as nn

Layers = tuple[tuple[int, int, int, int], ...]  # of each convolution: channels, kernel, stride, padding

PIX2PIX: Layers = ((64, 4, 2, 1), (128, 4, 2, 1), (256, 4, 2, 1), (512, 4, 1, 1), (1, 4, 1, 1))  # patches of 70 pixels
CLOSE_UP: Layers = ((32, 4, 2, 1), (64, 4, 2, 1), (64, 3, 1, 0), (1, 3, 1, 1))  # patches of 26


class PatchGAN(nn.Sequential):
    """[B, C, S, S] -> logits [B, 1, s, s], each of one patch (Isola et al. 2017). With spectral norms (Miyato et al.
    2018) in place of batch norms: no picture's judgement depends on the others of its batch."""

    def __init__(self, layers: Layers = PIX2PIX, channels: int = 3) -> None:
        super().__init__()
        for width, kernel, stride, padding in layers:
            if len(self):
                self.append(nn.LeakyReLU(0.2))
            conv = nn.Conv2d(channels, width, kernel, stride, padding)
            self.append(nn.utils.parametrizations.spectral_norm(conv))
            channels = width
