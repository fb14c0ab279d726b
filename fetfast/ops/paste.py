"""paste: a network's flow, light, mask and colour applied to the frame's own pixels, in one pass, at its resolution."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fetfast import _native
from fetfast.errors import BadInput
from fetfast.ops import frame_gpu
from fetfast.ops.crop import affine, check_field, check_frame, check_out, checked_matrix, sample_field
from fetfast.ops.placement import inverse, matrix

if TYPE_CHECKING:
    import torch

FEATHER = 0.06  # share of the crop's side over which the change fades in


def paste(
    frame: NDArray[np.uint8],  # [H, W, 3]
    M: NDArray[np.float32],  # [2, 3]
    flow: NDArray[np.float32],  # [2, S, S]
    mask: NDArray[np.float32] | None = None,  # [1, S, S]
    color: NDArray[np.float32] | None = None,  # [3, S, S]
    out: NDArray[np.uint8] | None = None,  # [H, W, 3]
    light: NDArray[np.float32] | None = None,  # [1, S, S]
) -> NDArray[np.uint8]:
    """The frame u8 [H, W, 3] with a crop of it changed. At frame pixel p, with c = M^-1 p in crop sides:

        w = fade(c.x) fade(c.y)         fade(t) = smoothstep(min(t, 1 - t) / FEATHER)
        q = M (c + w flow(c))
        g = 1 + w light(c)
        m = w mask(c)
        out(p) = g frame(q) + m (color(c) - g frame(q))

    frame: u8 [H, W, 3]; any strides. Sampled by Catmull-Rom, borders repeated: a portrait shifted by half a pixel keeps
        79 % of its gradients' energy, where bilinear keeps 63 %, for 1.5 times the time of the whole op.
    M: f32 [2, 3], maps crop points (0 ... 1) to frame points (pixels); invertible.
    flow: f32 [2, S, S], a backward offset in crop sides. mask: f32 [1, S, S], 0 ... 1, and color: f32 [3, S, S],
        -1 ... 1: both or neither. light: f32 [1, S, S], a gain on the frame's levels 0 ... 255, less one, or None: 0.1
        is a tenth lighter, -1 black. Each sampled bilinearly, borders repeated; NaN counts as 0.
    out: u8 [H, W, 3] of any strides, or None for a new array. Must not overlap the frame.

    Pixels outside of the crop are the frame's own, bit for bit; so are all pixels where flow, mask and light are zero.
    A frame that is a CUDA tensor is changed there, and all but M are such tensors: `frame_gpu`.
    Bytes that move: 6 H W, and 4 S^2 for each channel of flow, mask, color and light.
    Raises BadInput.
    """
    M = checked_matrix("paste", M)
    to_crop = inverse("paste", M)
    if frame_gpu.is_tensor(frame):
        return frame_gpu.paste(frame, M, FEATHER, flow, mask, color, light, out)
    check_frame("paste", frame)
    check_field("paste", "flow", flow, 2)
    if (mask is None) != (color is None):
        raise BadInput("paste(): got one of mask and color, expected both or neither")
    if mask is not None:
        check_field("paste", "mask", mask, 1, flow.shape[1])
        check_field("paste", "color", color, 3, flow.shape[1])
    if light is not None:
        check_field("paste", "light", light, 1, flow.shape[1])
    if out is None:
        out = np.empty(frame.shape, np.uint8)
    check_out("paste", out, frame.shape, np.uint8)
    if np.may_share_memory(frame, out):
        raise BadInput("paste(): out overlaps the frame, expected memory of its own")
    np.copyto(out, frame)
    _native.paste(frame, M, to_crop, FEATHER, flow, mask, color, light, out, *_box(M, frame.shape))
    return out


def composite(
    frame: NDArray[np.uint8],  # [H, W, 3]
    places: NDArray[np.float32],  # [B, 16]
    parts: dict[str, NDArray[np.float32]],  # [B, C, S, S]
    out: Any = None,
) -> NDArray[np.uint8]:
    """`paste` of several faces, one after the other, into a new frame u8 [H, W, 3].

    places: as `placements` makes them. parts: flow, and mask and color, or light, as `paste` takes them.
    On a GPU all of these are CUDA tensors, and the call can be captured as `crops` can: then out is an i64 [2, 6], two
    frames that are written in turns. Raises BadInput.
    """
    if frame_gpu.is_tensor(frame):
        return frame_gpu.composite(frame, places, FEATHER, parts, out)
    for i, place in enumerate(places):
        frame = paste(frame, matrix(place), **{part: tensor[i] for part, tensor in parts.items()})
    return frame


def paste_reference(
    frame: Any, M: Any, flow: Any, mask: Any = None, color: Any = None, out: Any = None, light: Any = None
) -> torch.Tensor:
    """The specification of `paste` in plain PyTorch. Computes in the dtype of `flow` (f64 for an exact answer)."""
    import torch

    frame, flow = torch.as_tensor(frame), torch.as_tensor(flow)
    M = torch.as_tensor(M).to(flow.dtype)
    H, W, _ = frame.shape
    centre = torch.meshgrid(torch.arange(W) + 0.5, torch.arange(H) + 0.5, indexing="xy")
    p = torch.stack(centre).to(flow.dtype)  # [2, H, W]
    inverse = torch.linalg.inv(torch.cat((M, torch.tensor([[0, 0, 1]]).to(M))))[:2]
    c = affine(inverse, p)
    t = (torch.minimum(c, 1 - c) / FEATHER).clamp(0, 1)
    w = (t * t * (3 - 2 * t)).prod(0)
    pixels = frame.permute(2, 0, 1).to(flow.dtype)
    result = cubic(pixels, p + torch.einsum("ij,j...->i...", M[:, :2], w * sample_field(flow, c)))
    if light is not None:
        result = result * (1 + w * sample_field(torch.as_tensor(light).to(flow.dtype), c))
    if mask is not None:
        m = w * sample_field(torch.as_tensor(mask).to(flow.dtype), c)
        result = result + m * (127.5 * sample_field(torch.as_tensor(color).to(flow.dtype), c) + 127.5 - result)
    result = torch.where(w > 0, result, pixels)
    result = (result + 0.5).nan_to_num(0).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return result.contiguous() if out is None else out.copy_(result)


def cubic(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """[C, H, W] at `points` [2, ...] in pixels by Catmull-Rom, borders repeated; a NaN coordinate counts as 0."""
    import torch

    _, H, W = image.shape
    x, y = ((p - 0.5).nan_to_num(0).clamp(0, n - 1) for p, n in zip(points, (W, H), strict=True))
    x0, y0 = x.long(), y.long()

    def weights(t: torch.Tensor) -> list[torch.Tensor]:
        return [
            t * (-0.5 + t * (1 - 0.5 * t)),
            1 + t * t * (-2.5 + 1.5 * t),
            t * (0.5 + t * (2 - 1.5 * t)),
            t * t * (-0.5 + 0.5 * t),
        ]

    result = torch.zeros_like(image[:, y0, x0])
    for i, wy in enumerate(weights(y - y0)):
        for j, wx in enumerate(weights(x - x0)):
            result += wy * wx * image[:, (y0 + i - 1).clamp(0, H - 1), (x0 + j - 1).clamp(0, W - 1)]
    return result


def _box(M: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Columns x0 ... x1 and rows y0 ... y1 of the frame whose centres may lie in the crop."""
    corners = M.astype(np.float64) @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    (x0, y0), (x1, y1) = corners.min(1), corners.max(1)
    H, W = shape[:2]
    x0, x1, y0, y1 = (int(np.clip(v, 0, n)) for v, n in ((floor(x0), W), (ceil(x1), W), (floor(y0), H), (ceil(y1), H)))
    return x0, x1, y0, y1
