"""crop: the square round a face, sampled from the frame, normalised and laid out for a network, in one pass."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fetfast import _native
from fetfast.errors import BadInput
from fetfast.ops import frame_gpu
from fetfast.ops.placement import matrix, scale
from fetfast.spec import MAX_SIDE

if TYPE_CHECKING:
    import torch

MAX_TAPS = 8  # 64 samples a pixel: beyond that they only stand further apart


def crop(
    frame: NDArray[np.uint8],  # [H, W, 3]
    M: NDArray[np.float32],  # [2, 3]
    size: int,
    flow: NDArray[np.float32] | None = None,  # [2, F, F]
    out: NDArray[np.float32] | None = None,  # [3, size, size]
) -> NDArray[np.float32]:
    """The crop f32 [3, size, size] of a frame, -1 ... 1.

        out(u) = mean over n x n points v of pixel u of frame(M (v + flow(u)))

    frame: u8 [H, W, 3]; any strides, negative ones too. Sampled bilinearly; outside, its border pixels are repeated.
    M: f32 [2, 3], maps crop points (0 ... 1) to frame points (pixels).
    size: S, 1 ... 8192.
    flow: f32 [2, F, F], a backward offset in crop sides, sampled bilinearly at the centre of pixel u; NaN counts as 0.
        A crop through a flow is the crop of the warped face.
    out: f32 [3, S, S] of any strides (a transposed view gives NHWC), or None for a new array. Must not overlap `flow`.

    n = ceil(frame pixels along a crop pixel's longer side), at most 8: a crop that shrinks is anti-aliased.
    A frame that is a CUDA tensor is cropped there, and flow and out are such tensors: `frame_gpu`.
    Bytes that move: the crop's part of the frame once, 8 F^2 of flow, 12 S^2 written.
    Raises BadInput.
    """
    M = checked_matrix("crop", M)
    if not isinstance(size, int | np.integer) or not 1 <= size <= MAX_SIDE:
        raise BadInput(f"crop(): size is {size!r}, expected a whole number in 1 ... {MAX_SIDE}")
    if frame_gpu.is_tensor(frame):
        return frame_gpu.crop(frame, M, size, flow, out)
    check_frame("crop", frame)
    if flow is not None:
        check_field("crop", "flow", flow, 2)
    if out is None:
        out = np.empty((3, size, size), np.float32)
    check_out("crop", out, (3, size, size), np.float32)
    _native.crop(frame, M, taps(M, size), flow, out)
    return out


def crops(
    frame: NDArray[np.uint8],  # [H, W, 3]
    places: NDArray[np.float32],  # [B, 16]
    size: int,
    flow: NDArray[np.float32] | None = None,  # [B, 2, F, F]
    out: NDArray[np.float32] | None = None,  # [B, 3, size, size]
) -> NDArray[np.float32]:
    """`crop` of several faces of one frame, f32 [B, 3, S, S]. places: as `placements` makes them.

    On a GPU all of these are CUDA tensors, and the call can be captured for frames and places that change: then the
    frame is told by an i64 [6], its address, strides in bytes, H and W (`frame_gpu.reference`). Raises BadInput.
    """
    if frame_gpu.is_tensor(frame):
        return frame_gpu.crops(frame, places, size, flow, out)
    if out is None:
        out = np.empty((len(places), 3, size, size), np.float32)
    for i, place in enumerate(places):
        crop(frame, matrix(place), size, None if flow is None else flow[i], out[i])
    return out


def taps(M: Any, size: int) -> int:
    """How many samples along each side of an output pixel. A thousandth is forgiven, so that rounding in a matrix that
    keeps the scale does not blur."""
    return ceil(np.clip(scale(M) / size - 1e-3, 1, MAX_TAPS))


def to_picture(crop: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A crop f32 [3, S, S] in -1 ... 1 as a picture u8 [S, S, 3]; what lies outside is clipped."""
    levels = (crop.transpose(1, 2, 0) * 127.5 + 128).clip(0, 255)
    return np.ascontiguousarray(levels.astype(np.uint8))


def crop_reference(frame: Any, M: Any, size: int, flow: Any = None, out: Any = None) -> torch.Tensor:
    """The specification of `crop` in plain PyTorch. Computes in the dtype of `M` (f64 for an exact answer)."""
    import torch

    frame, M = torch.as_tensor(frame), torch.as_tensor(M)
    n = taps(M, size)
    corner = torch.arange(size, dtype=M.dtype) / size
    corner = torch.stack(torch.meshgrid(corner, corner, indexing="xy"))  # [2, S, S], (x, y) of each pixel's corner
    if flow is not None:
        corner = corner + sample_field(torch.as_tensor(flow).to(M.dtype), corner + 0.5 / size)
    within = (torch.arange(n, dtype=M.dtype) + 0.5) / (n * size)
    result = torch.zeros(3, size, size, dtype=M.dtype)
    for y in within:
        for x in within:
            result += sample(frame.permute(2, 0, 1).to(M.dtype), affine(M, corner + torch.stack((x, y))[:, None, None]))
    result = result / (127.5 * n * n) - 1
    return result if out is None else out.copy_(result)


def affine(M: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """[2, ...] points through `M` [2, 3]."""
    import torch

    return torch.einsum("ij,j...->i...", M[:, :2], points) + M[:, 2].reshape(2, *[1] * (points.ndim - 1))


def sample(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """[C, H, W] at `points` [2, ...] in pixels, bilinearly, borders repeated; a NaN coordinate counts as 0."""
    _, H, W = image.shape
    x, y = ((p - 0.5).nan_to_num(0).clamp(0, n - 1) for p, n in zip(points, (W, H), strict=True))
    x0, y0 = x.long(), y.long()
    x1, y1 = (x0 + 1).clamp(max=W - 1), (y0 + 1).clamp(max=H - 1)
    tx, ty = x - x0, y - y0
    top = image[:, y0, x0] + tx * (image[:, y0, x1] - image[:, y0, x0])
    bottom = image[:, y1, x0] + tx * (image[:, y1, x1] - image[:, y1, x0])
    return top + ty * (bottom - top)


def sample_field(field: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """[C, S, S] at `points` [2, ...] in crop sides, bilinearly, borders repeated; a NaN value counts as 0."""
    return sample(field.where(~field.isnan(), 0), points * field.shape[-1])


def check_frame(op: str, frame: Any) -> None:
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
        raise BadInput(f"{op}(): frame is {describe(frame)}, expected uint8 [H, W, 3]")
    if not (frame.size and max(frame.shape) < 1 << 24):
        raise BadInput(f"{op}(): frame is {describe(frame)}, expected 1 ... 16777215 pixels a side")


def checked_matrix(op: str, M: Any) -> NDArray[np.float32]:
    try:
        matrix = np.asarray(M, np.float32)
    except (TypeError, ValueError):
        raise BadInput(f"{op}(): M is {describe(M)}, expected float32 [2, 3]") from None
    if matrix.shape != (2, 3):
        raise BadInput(f"{op}(): M is {describe(matrix)}, expected float32 [2, 3]")
    if not np.isfinite(matrix).all():
        raise BadInput(f"{op}(): M is {matrix.tolist()}, expected finite numbers")
    return matrix


def check_field(op: str, name: str, field: Any, channels: int, size: int | None = None) -> None:
    """A float32 array [channels, F, F] of any strides; F is `size` where that is given."""
    fits = isinstance(field, np.ndarray) and field.dtype == np.float32 and field.ndim == 3 and field.size > 0
    if not (fits and field.shape == (channels, *[size or field.shape[2]] * 2)):
        raise BadInput(
            f"{op}(): {name} is {describe(field)}, expected float32 [{channels}, {size or 'F'}, {size or 'F'}]"
        )


def check_out(op: str, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
    wanted = f"{np.dtype(dtype)} {list(shape)}"
    if not (isinstance(out, np.ndarray) and out.dtype == dtype and out.shape == shape):
        raise BadInput(f"{op}(): out is {describe(out)}, expected {wanted}")
    if not out.flags.writeable:
        raise BadInput(f"{op}(): out is read-only, expected a writable {wanted}")


def describe(value: Any) -> str:
    """What an argument is, for a message: `float64 [2, 68]`, or its type."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
