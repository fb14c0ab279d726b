"""The true flow and the true light of a pair: the mesh's own on it, and round it what goes with it."""

import numpy as np
import pytest
from people import pair_of, wearing
from scipy.ndimage import map_coordinates

from fetfast.ops.heatmap import first_flow
from fetfast.synth import portrait_dataset, regions
from fetfast.synth.face_submesh import FACE
from fetfast.synth.fit import Fit
from fetfast.synth.portrait import Portrait
from fetfast.synth.reexpress import COARSE, COLUMNS, as_photographed, fade, motion, reexpress

SIZE = 128
OVER = regions.OCCLUDER
SKIN_REGION = regions.REGIONS.index("skin")


def test_the_flow_shows_on_the_target_what_the_truth_shows(
    model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit
) -> None:
    """Wherever it is known, the landmarks' flow is farther off, and not to move is farthest."""
    torch = pytest.importorskip("torch")
    from fetfast.train.losses import flows, pictures

    def fine(flow):
        return torch.nn.functional.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)

    off = np.zeros(3)
    for seed in range(6):
        made = pair_of(model, portrait_128, seed)
        made = portrait_dataset.mirrored(model, made) if seed % 2 else made
        flow = torch.from_numpy(made["flow"].astype(np.float32)).movedim(-1, 0)[None]
        assert flow.shape == (1, 2, SIZE // 2, SIZE // 2)
        target, truth = (
            torch.from_numpy(made[name] / np.float32(127.5) - 1).movedim(-1, 0)[None] for name in ("target", "truth")
        )
        points = [made[name][None].astype(np.float32) for name in ("target_points", "driven_points")]
        first = torch.from_numpy(first_flow(*points, SIZE // 2))
        known = fine(flow).isfinite().all(1, keepdim=True).float()
        off += [pictures.ssim(flows.warp(target, fine(f)), truth, known) for f in (flow.nan_to_num(), first, 0 * first)]
    assert off[0] < 0.85 * off[1] < 0.7 * off[2]


@pytest.mark.parametrize("real", [False, True])
def test_flow_and_light_are_the_mesh_s(
    model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit, real: bool
) -> None:
    """On skin away from the mesh's edge, whether the truth is made or the photo; outside they follow without a gap."""
    expression = wearing(model, fitted.expression, jawOpen=0.4, mouthSmile_L=0.8)
    made = reexpress(model.kit, model.submesh, portrait_128, expression).raster
    photo = as_photographed(model.submesh, portrait_128)
    target, truth = (made, photo) if real else (photo, made)
    flow, light = (field.astype(np.float32) for field in motion(model.submesh, target, truth))
    at = np.arange(SIZE // 2) * 4 + 2
    seen, weights = truth.seen[np.ix_(at, at)], truth.weights[np.ix_(at, at)]
    skin = (seen >= 0) & (model.submesh.triangle_kind[seen] == FACE)
    cells = (at * COARSE // len(truth.seen))[:, None], (at * COARSE // len(truth.seen))[None]
    inner = skin & (np.minimum(*np.broadcast_arrays(truth.around[..., 3][cells], skin)) >= 0.99)
    assert inner.sum() > 400
    corner = model.submesh.triangles[seen[inner]]
    shift = (target.screen - truth.screen)[:, :2]
    wanted = np.einsum("pk,pkc->pc", weights[inner], shift[corner])
    assert np.abs(flow[inner] - wanted).max() < 0.002 and np.abs(wanted).max() > 0.02
    gain = np.einsum("pk,pk->p", weights[inner], (truth.light / target.light)[corner]) - 1
    assert np.abs(light[inner] - gain).max() < 0.002
    steps = np.nan_to_num(np.abs(np.diff(flow, axis=1)).max(-1))
    edge = skin[:, 1:] != skin[:, :-1]
    rows = (
        edge & np.isfinite(flow[..., 0])[:, 1:] & np.isfinite(flow[..., 0])[:, :-1] & (seen[:, 1:] * seen[:, :-1] <= 0)
    )
    assert steps[rows].max() < 0.008, "one pixel of a crop at 128, two pixels on"


def test_the_light_is_what_moved_pixels_lack(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    """Moved by the true flow, the target is nearer to the truth with that light than without, and than against it."""
    off = np.zeros(3)
    for seed in range(8):
        made = pair_of(model, portrait_128, seed)
        if OVER in made["mask"]:
            continue
        flow, light = (made[name].astype(np.float32) for name in ("flow", "light"))
        assert light.shape == flow.shape[:2] and np.array_equal(np.isnan(light), np.isnan(flow[..., 0]))
        y, x = np.mgrid[: SIZE // 2, : SIZE // 2] * 2 + 1
        at = np.nan_to_num(flow) * SIZE
        moved, truth = (
            map_coordinates(made[name].mean(2), place, order=1, mode="nearest")
            for name, place in (("target", (y + at[..., 1] - 0.5, x + at[..., 0] - 0.5)), ("truth", (y - 0.5, x - 0.5)))
        )
        skin = (made["mask"][::2, ::2] == SKIN_REGION) & np.isfinite(light)
        off += [np.square(moved * (1 + t * light) - truth)[skin].mean() for t in (1, 0, -1)]
    assert off[0] < 0.85 * off[1] < 0.75 * off[2]


def test_what_surrounds_the_face_moves_alike() -> None:
    """Neighbours on the mesh's edge that go opposite ways pull what is far from it nowhere; an edge covers by half."""
    size = 10 * COARSE
    seen = np.full((size, size), -1, np.int32)
    row = (np.arange(size) // 10) % 2  # one row of the coarse grid up, the next one down
    seen[:, : size // 2] = row[:, None]
    columns = np.zeros((2, COLUMNS), np.float32)
    columns[:, 1], columns[:, 2] = (0.01, -0.01), 1
    around = fade(seen, np.full((size, size, 3), 1 / 3, np.float32), np.array([[0] * 3, [1] * 3], np.int32), columns)
    middle, edge = around[10:-10], COARSE // 2
    assert np.abs(middle[:, edge + 4 :, 1]).max() < 0.0005
    assert np.allclose(middle[:, edge - 1 : edge + 1, 3].mean(1), 0.5, atol=0.05)
    columns[:, 1] = 0.01
    whole = fade(seen, np.full((size, size, 3), 1 / 3, np.float32), np.array([[0] * 3, [1] * 3], np.int32), columns)
    along = whole[COARSE // 2, :, 1]
    assert along[edge] > 0.009 and along[-1] == 0 and (np.diff(along[edge:]) <= 1e-6).all()
    assert np.abs(np.diff(along)).max() < 0.0025, "and dies away without a step"
