"""conv: a convolution that reads normalised, activated, upsampled and concatenated images without their being written,
and gives the norm that comes next its statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetfast.errors import BadInput
from fetfast.ops.norm_act import check_span, describe, on_gpu, statistics_reference
from fetfast.ops.upcat import Part, check_parts, part_reference

if TYPE_CHECKING:
    from torch import Tensor

    from fetfast.kernels import configs


@dataclass(frozen=True, eq=False)
class Filter:
    """A convolution's weights as the kernel reads them: output channels next to one another, taps first.

    `pack` makes one, once. Padding is (k - 1) // 2; a transposed convolution is 4x4 of stride 2 and padding 1.
    """

    weight: Tensor  # [Q, T, C, N]: T taps of each of Q = 1 or (transposed) 4 parities of output pixels
    bias: Tensor | None  # f32 [N]
    stride: int
    transposed: bool

    @staticmethod
    def pack(weight: Tensor, bias: Tensor | None = None, stride: int = 1, transposed: bool = False) -> Filter:
        """From PyTorch's layout: [N, C, k, k], or [C, N, 4, 4] for a transposed convolution. Raises BadInput."""
        import torch

        k = weight.shape[-1]
        if weight.ndim != 4 or weight.shape[2] != k or (transposed and (k, stride) != (4, 2)):
            raise BadInput(
                f"pack(): weight is {describe(weight)} with stride {stride}, expected [N, C, k, k], or [C, N, 4, 4] "
                "of stride 2 if transposed"
            )
        if transposed:
            packed = torch.stack(
                [
                    torch.stack([weight[:, :, 1 - qy + 2 * ty, 1 - qx + 2 * tx] for ty in (0, 1) for tx in (0, 1)])
                    for qy in (0, 1)
                    for qx in (0, 1)
                ]
            )
        else:
            packed = weight.permute(2, 3, 1, 0).flatten(0, 1)[None]
        return Filter(packed.contiguous(), None if bias is None else bias.float().contiguous(), stride, transposed)

    @property
    def taps(self) -> int:
        """k."""
        return 4 if self.transposed else round(self.weight.shape[1] ** 0.5)

    def unpacked(self) -> Tensor:
        """PyTorch's layout again."""
        C, N = self.weight.shape[2:]
        if not self.transposed:
            return self.weight[0].reshape(self.taps, self.taps, C, N).permute(3, 2, 0, 1)
        weight = self.weight.new_empty(C, N, 4, 4)
        for q in range(4):
            for t in range(4):
                weight[:, :, 1 - q // 2 + 2 * (t // 2), 1 - q % 2 + 2 * (t % 2)] = self.weight[q, t]
        return weight

    def output_shape(self, B: int, H: int, W: int) -> tuple[int, int, int, int]:
        """[B, HO, WO, N] for inputs of H x W."""
        N = self.weight.shape[3]
        if self.transposed:
            return B, 2 * H, 2 * W, N
        reach = self.taps - 2 * ((self.taps - 1) // 2)
        return B, (H - reach) // self.stride + 1, (W - reach) // self.stride + 1, N


@dataclass(frozen=True, eq=False)
class Affine:
    """The instance norm to come: weight and bias f32 [N], or neither, and eps."""

    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5


def conv(
    a: Part,
    b: Part | None,
    filter: Filter,
    *,
    slope: float = 1.0,
    norm: Affine | None = None,
    config: configs.Config | None = None,
) -> tuple[Tensor, Tensor | None]:
    """act(filter * concat(a, b)), and its norm to come.

    a, b: channels-last, of one dtype; "none" or "nearest" upsampled. The filter's weight has that dtype, or is f32
    (then the product is f32 as well).
    norm: asks for the statistics of the result. config: how it is computed; None takes the table's.
    Returns y [B, N, HO, WO] of the weight's dtype, channels-last, and f32 [3, B, N] for a `Part` of it, or None.
    Sums are f32; the same inputs give the same bits. Raises BadInput.
    """
    import torch

    parts = [a] if b is None else [a, b]
    check_parts("conv", parts)
    for part in parts:
        if part.up not in ("none", "nearest"):
            raise BadInput(f"conv(): up is {part.up!r}, expected none or nearest; give it to upcat first")
    B, _, H, W = a.shape
    C, N = filter.weight.shape[2:]
    if sum(part.shape[1] for part in parts) != C or filter.weight.dtype not in (a.x.dtype, torch.float32):
        raise BadInput(
            f"conv(): inputs of {[part.shape[1] for part in parts]} channels of {a.x.dtype} for a filter of {C} "
            f"channels of {filter.weight.dtype}; expected the same, or a float32 filter"
        )
    shape = filter.output_shape(B, H, W)
    if min(shape[1:]) < 1:
        raise BadInput(f"conv(): {H} x {W} is smaller than the filter, {filter.taps} x {filter.taps}")
    y = torch.empty(shape, dtype=filter.weight.dtype, device=a.x.device)
    check_span("conv", "the result", y)
    statistics = None if norm is None else torch.empty(3, B, N, dtype=torch.float32, device=a.x.device)
    if not y.numel():
        return y.permute(0, 3, 1, 2), statistics
    if not on_gpu(a.x):
        result = conv_reference(a, b, filter, slope).contiguous(memory_format=torch.channels_last)
        return result, None if norm is None else statistics_reference(result, norm.weight, norm.bias, norm.eps)
    prepare(a, b, filter, y, statistics, slope, norm or Affine(), config)()
    return y.permute(0, 3, 1, 2), statistics


def prepare(
    a: Part,
    b: Part | None,
    filter: Filter,
    y: Tensor,  # [B, HO, WO, N]
    statistics: Tensor | None,  # f32 [3, B, N]
    slope: float,
    norm: Affine,
    config: configs.Config | None = None,
) -> Callable[[], None]:
    """The launch of a `conv` into y and statistics, to be called as often as wanted: it allocates nothing."""
    import torch

    from fetfast.kernels import configs
    from fetfast.kernels import conv as kernel

    if config is None:
        config = configs.choose(shape_of(a, b, filter))
    work = torch.empty(kernel.workspace(config, y, filter.transposed), dtype=torch.float32, device=y.device)
    check_span("conv", "its workspace", work)
    check_span("conv", "the filter", filter.weight)
    first, second = nhwc(a.x), None if b is None else nhwc(b.x)
    b = b or a

    def launch() -> None:
        kernel.launch(
            first, a.norm, a.slope, a.up == "nearest", second, b.norm, b.slope, b.up == "nearest",
            filter.weight, filter.bias, y, statistics, norm.weight, norm.bias, work,
            filter.stride, slope, norm.eps, config,
        )  # fmt: skip

    return launch


def conv_reference(a: Part, b: Part | None, filter: Filter, slope: float = 1.0) -> Tensor:
    """The specification of `conv`'s first result in plain PyTorch: in the precision of its arguments."""
    import torch
    import torch.nn.functional as F

    x = torch.cat([part_reference(part) for part in (a, b) if part is not None], 1).to(filter.weight.dtype)
    bias = None if filter.bias is None else filter.bias.to(x.dtype)
    if filter.transposed:
        v = F.conv_transpose2d(x, filter.unpacked(), bias, 2, 1)
    else:
        v = F.conv2d(x, filter.unpacked(), bias, filter.stride, (filter.taps - 1) // 2)
    return torch.where(v > 0, v, v * slope)


def shape_of(a: Part, b: Part | None, filter: Filter) -> configs.Shape:
    """What the table of configurations is asked by."""
    import torch

    from fetfast.kernels import configs

    capability, multiprocessors = 90, 132  # in the interpreter: an H100's
    if a.x.is_cuda:
        properties = torch.cuda.get_device_properties(a.x.device)
        capability, multiprocessors = 10 * properties.major + properties.minor, properties.multi_processor_count
    Q, T, _, N = filter.weight.shape
    B, HO, WO, _ = filter.output_shape(*a.shape[::2], a.shape[3])
    channels = tuple(part.shape[1] for part in (a, b) if part is not None)
    dtype = str(filter.weight.dtype).removeprefix("torch.")
    return configs.Shape(capability, multiprocessors, dtype, B, HO * WO // Q, channels, N, T, Q)


def nhwc(x: Tensor) -> Tensor:
    """x [B, C, H, W], channels-last, as [B, H, W, C]: a view with a regular step from pixel to pixel."""
    B, C, H, W = x.shape
    step = x.stride(3) if W > 1 else x.stride(2) if H > 1 else x.stride(0) if B > 1 else C
    wanted = (H * W * step, 1, W * step, step)
    if any(n > 1 and s != w for n, s, w in zip(x.shape, x.stride(), wanted, strict=True)):
        raise BadInput(
            f"conv(): an input is {describe(x)} with strides {tuple(x.stride())}, expected it channels-last; "
            "give x.contiguous(memory_format=torch.channels_last)"
        )
    check_span("conv", "an input", x)
    return x.as_strided((B, H, W, C), (wanted[0], wanted[2], step, 1))
