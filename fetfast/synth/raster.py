"""A z-buffer in numba: which triangle each pixel sees, and where on it.

Pixels are sampled at their centres (+0.5). Weights are perspective-correct: with 1/z linear on the screen,
attribute(p) = sum_i b_i a_i / z_i / sum_i b_i / z_i. Callers rasterise at twice the size and average 2 x 2.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def rasterize(
    points: np.ndarray,  # f32 [N, 3]: x, y in pixels, 1 / depth (larger is nearer)
    triangles: np.ndarray,  # i32 [T, 3], counter-clockwise seen from the front
    seen: np.ndarray,  # i32 [H, W]: out, triangle or -1
    weights: np.ndarray,  # f32 [H, W, 3]: out
    near: np.ndarray,  # f32 [H, W]: in and out, 1 / depth of what is drawn; start at 0
) -> None:
    """Draw `triangles` into `seen`, `weights` and `near`, over what these hold. Back faces are not drawn."""
    height, width = seen.shape
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, d0 = points[i, 0], points[i, 1], points[i, 2]
        x1, y1, d1 = points[j, 0], points[j, 1], points[j, 2]
        x2, y2, d2 = points[k, 0], points[k, 1], points[k, 2]
        # y points down on the screen, so a front face turns clockwise there.
        area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
        if area <= 1e-9:
            continue
        left, right = max(0, int(np.ceil(min(x0, x1, x2) - 0.5))), min(width - 1, int(max(x0, x1, x2) - 0.5))
        top, bottom = max(0, int(np.ceil(min(y0, y1, y2) - 0.5))), min(height - 1, int(max(y0, y1, y2) - 0.5))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                a = ((x2 - x) * (y1 - y) - (x1 - x) * (y2 - y)) / area
                b = ((x0 - x) * (y2 - y) - (x2 - x) * (y0 - y)) / area
                c = 1.0 - a - b
                if a < 0 or b < 0 or c < 0:
                    continue
                depth = a * d0 + b * d1 + c * d2
                if depth > near[row, column]:
                    near[row, column] = depth
                    seen[row, column] = t
                    weights[row, column, 0] = a * d0 / depth
                    weights[row, column, 1] = b * d1 / depth
                    weights[row, column, 2] = c * d2 / depth


@njit(cache=True, nogil=True)
def interpolate(
    seen: np.ndarray, weights: np.ndarray, triangles: np.ndarray, attributes: np.ndarray, out: np.ndarray
) -> None:
    """`attributes` f32 [N, C] of the vertices -> out f32 [H, W, C]; pixels that see nothing stay as they are."""
    for row in range(seen.shape[0]):
        for column in range(seen.shape[1]):
            t = seen[row, column]
            if t < 0:
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            a, b, c = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            for n in range(attributes.shape[1]):
                out[row, column, n] = a * attributes[i, n] + b * attributes[j, n] + c * attributes[k, n]


@njit(cache=True, nogil=True)
def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals f32 [N, 3]."""
    normals = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = (
            vertices[j, 0] - vertices[i, 0],
            vertices[j, 1] - vertices[i, 1],
            vertices[j, 2] - vertices[i, 2],
        )
        bx, by, bz = (
            vertices[k, 0] - vertices[i, 0],
            vertices[k, 1] - vertices[i, 1],
            vertices[k, 2] - vertices[i, 2],
        )
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for n in (i, j, k):
            normals[n, 0] += nx
            normals[n, 1] += ny
            normals[n, 2] += nz
    for n in range(normals.shape[0]):
        length = np.sqrt(normals[n, 0] ** 2 + normals[n, 1] ** 2 + normals[n, 2] ** 2)
        if length > 0:
            normals[n] /= length
    return normals


@njit(cache=True, nogil=True)
def concavity(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """How far (cm) the mean of a vertex's neighbours lies above it along its normal, f32 [N]: creases are positive."""
    sums = np.zeros_like(vertices)
    count = np.zeros(vertices.shape[0], np.float32)
    for t in range(triangles.shape[0]):
        for corner in range(3):
            i, j, k = triangles[t, corner], triangles[t, (corner + 1) % 3], triangles[t, (corner + 2) % 3]
            count[i] += 2
            for n in range(3):
                sums[i, n] += vertices[j, n] + vertices[k, n]
    out = np.zeros(vertices.shape[0], np.float32)
    for i in range(vertices.shape[0]):
        if count[i] > 0:
            for n in range(3):
                out[i] += (sums[i, n] / count[i] - vertices[i, n]) * normals[i, n]
    return out


@njit(cache=True, nogil=True)
def halve(image: np.ndarray) -> np.ndarray:
    """f32 [2H, 2W, C] -> [H, W, C]: the mean of 2 x 2."""
    height, width, channels = image.shape[0] // 2, image.shape[1] // 2, image.shape[2]
    out = np.empty((height, width, channels), image.dtype)
    for row in range(height):
        for column in range(width):
            for n in range(channels):
                out[row, column, n] = 0.25 * (
                    image[2 * row, 2 * column, n]
                    + image[2 * row, 2 * column + 1, n]
                    + image[2 * row + 1, 2 * column, n]
                    + image[2 * row + 1, 2 * column + 1, n]
                )
    return out
