"""Light, shadow and occlusion of the synthesis on hand-made scenes, against closed forms. Needs no data."""

from math import erf
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

from fetfast.synth import occlude as occluding
from fetfast.synth import portrait, reexpress, render
from fetfast.synth.face_submesh import FACE, MOUTH, TEETH
from fetfast.synth.regions import OCCLUDER, SKIN

SIDE = 300
TALL = 0.5  # cm by which the hand-made step rises
KEY, SKY = np.array([0.9, 0.8, 0.7]), np.array([0.4, 0.5, 0.6])


def half(distance: float, sigma: float) -> float:
    """A step from 0 to 1, blurred by a Gaussian: its value at this distance into the 1."""
    return 0.5 * (1 + erf(distance / sigma / np.sqrt(2)))


def plane(depth: np.ndarray) -> render.Scene:
    """A scene that sees one material facing the camera, `depth` f32 [S, S] cm away."""
    attributes = np.zeros((*depth.shape, 14), np.float32)
    attributes[..., 8] = 1  # the normal
    attributes[..., 11] = -depth
    part = np.full(depth.shape, render.RIM, np.int32)
    return render.Scene(np.zeros(depth.shape, np.int32), (1 / depth).astype(np.float32), attributes, part)


def lost_at(distance: float) -> float:
    """Ambient light lost on the lower side of a step, so many pixels from it."""
    return sum(gain * TALL * half(-distance, SIDE / share) for share, gain in ((150, 0.9), (50, 0.35)))


@pytest.fixture(scope="module")
def step() -> render.Scene:
    depth = np.full((SIDE, SIDE), 100.0)
    depth[:, SIDE // 2 :] += TALL
    return plane(depth)


def test_ambient_light_is_lost_below_a_step(step: render.Scene) -> None:
    lost = render.occlusion(step)[SIDE // 2]
    low = SIDE // 2
    for pixels in (0, 3, 8):
        assert lost[low + pixels] == pytest.approx(lost_at(pixels + 0.5), abs=0.002)
    assert not lost[: low - 1].any() and lost_at(0.5) > 0.2
    empty = render.Scene(np.full((9, 9), -1, np.int32), np.zeros((9, 9), np.float32), step.attributes, step.part)
    assert not render.occlusion(empty).any()


def test_shading_loses_the_light_that_is_occluded(step: render.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "eyeballs", lambda kit, vertices: (np.zeros((2, 3)), 1.0))
    kit = SimpleNamespace(part_names=["Face"], neutral=None)
    appearance = SimpleNamespace(
        light=np.array([0, 0, 1.0]), key=np.zeros(3), ambient=SKY, background=(np.zeros(3), np.zeros(3)), seed=0
    )
    row = render.shade(kit, step, appearance, np.ones((SIDE, SIDE)), np.zeros((2, 3)))[SIDE // 2]
    for pixels in (3, 8):
        open_light = 1 - lost_at(pixels + 0.5)
        np.testing.assert_allclose(row[SIDE // 2 + pixels] / row[10], open_light, atol=0.01)


def test_a_square_throws_its_shadow_where_geometry_says() -> None:
    """A square of 4 cm, 3 cm above a floor, the light at 45 degrees: its shadow lies 3 cm to the side."""
    corners = np.array([[-1, 1, 0], [-1, -1, 0], [1, -1, 0], [1, 1, 0]], np.float32)
    placed = np.concatenate([corners * 10, corners * 2 + np.float32([0, 0, 3])]) + np.float32([0, 0, -100])
    quad = np.array([[0, 1, 2], [0, 2, 3]])
    triangles = np.concatenate([quad, quad + 4]).astype(np.int32)
    at = np.linspace(-9.95, 9.95, 200)
    attributes = np.zeros((200, 200, 14), np.float32)
    attributes[..., 9], attributes[..., 10], attributes[..., 11] = *np.meshgrid(at, -at), -100
    scene = render.Scene(np.zeros((200, 200), np.int32), np.zeros((200, 200), np.float32), attributes, np.zeros(1))
    appearance = SimpleNamespace(light=np.array([1, 0, 1]) / np.sqrt(2))
    lit = render.shadow(placed, triangles, scene, appearance)

    def there(x: float, y: float) -> float:
        return float(lit[np.abs(-at - y).argmin(), np.abs(at - x).argmin()])

    for x, y in ((-3, 0), (-4.2, 1.2), (-1.8, -1.2)):
        assert there(x, y) == pytest.approx(0, abs=0.02)
    for x, y in ((0.2, 0), (3, 0), (-3, 3.2), (-6.5, 0)):
        assert there(x, y) == pytest.approx(1, abs=0.02)
    for x, y in ((-1, 0), (-5, 0), (-3, 2), (-3, -2)):  # its edges
        assert there(x, y) == pytest.approx(0.5, abs=0.25)


@pytest.mark.parametrize("lit", [0.0, 1.0])
def test_the_key_light_is_wrapped_lambert_and_ends_in_shadow(lit: float) -> None:
    albedo, wrap, cosine = np.array([[0.5, 0.4, 0.3]]), np.full(3, 0.2), 0.6
    appearance = SimpleNamespace(light=np.array([0.8, 0, cosine]), key=KEY, ambient=np.zeros(3))
    ahead = np.array([[0, 0, 1.0]])
    color = render.light(appearance, albedo, ahead, -100 * ahead, np.array([lit]), np.ones(1), wrap, 0.0, 30.0)
    np.testing.assert_allclose(color, lit * albedo * KEY * (cosine + 0.2) / 1.2, atol=1e-9)


def test_a_render_is_shadowed_and_occluded(shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either a face is brighter, in its mean and nowhere darker."""
    from fetfast.synth.appearance import random_appearance
    from fetfast.synth.camera import Pose
    from fetfast.synth.facekit import Facekit
    from fetfast.synth.materials import Charts

    kit = Facekit.open(shared / "ict_facekit_f16.npz")
    pose = Pose(np.zeros(3), np.array([0, 0, -100.0]), 160.0, (24.0, 24.0))

    def made() -> np.ndarray:
        appearance = random_appearance(np.random.default_rng(5))
        return render.render(kit, Charts.of(kit), kit.neutral, np.zeros((2, 2)), pose, appearance, 48)[0].astype(int)

    own = made()
    for step, value, least in (("shadow", 1.0, 1.0), ("occlusion", 0.0, 0.3)):
        with monkeypatch.context() as patch:
            patch.setattr(render, step, lambda *given, value=value: np.full((96, 96), value))
            without = made()
        assert without.mean() > own.mean() + least and (without >= own - 1).all(), step


# ---- Portraits


def test_openings_are_dim_near_their_edges() -> None:
    seen = np.zeros((384, 384), np.int32)
    seen[:, 192:] = 1
    dim = reexpress.shadowed(seen, np.array([FACE, MOUTH], np.uint8))
    fine, sigma = 2 * reexpress.COARSE, 2 * reexpress.COARSE * 0.008
    assert dim.shape == (fine, fine)
    for cells in (0, 1, 3):
        assert dim[40, fine // 2 + cells] == pytest.approx(half(cells + 0.5, sigma), abs=0.05)
    assert dim[40, -1] == pytest.approx(1) and dim[40, 0] == 0


@pytest.mark.parametrize(("part", "least"), [(MOUTH, 0.3), (TEETH, 0.8)])
@pytest.mark.parametrize(("light", "share"), [(1.0, 1.0), (0.5, 0.4), (0.0, 0.15)])
def test_what_an_opening_shows_is_as_bright_as_its_light(part: int, least: float, light: float, share: float) -> None:
    """The mouth's inside keeps 30 % in the dark, teeth 80; what the photo shows there (trust 1) is kept as it is."""
    side = 96
    columns = np.zeros((3, reexpress.COLUMNS), np.float32)
    columns[:, 2], columns[:, 4:7] = 1, (100, 80, 60)
    photo, out = np.full((side, side, 3), 200, np.float32), np.empty((side, side, 3), np.float32)
    scene = (np.zeros((side, side), np.int32), np.full((side, side, 3), 1 / 3, np.float32))
    about = np.array([[0, 1, 2]], np.int32), np.array([part], np.uint8)
    around = np.zeros((reexpress.COARSE, reexpress.COARSE, 4), np.float32)
    dim, iris = np.full((side, side), light, np.float32), np.zeros((2, 3), np.float32)
    reexpress.compose(photo, *scene, *about, columns, around, dim, iris, out)
    np.testing.assert_allclose(out[48, 48], np.array([100, 80, 60]) * (least + (1 - least) * share), rtol=1e-4)
    columns[:, 3] = 1
    reexpress.compose(photo, *scene, *about, columns, around, dim, iris, out)
    np.testing.assert_allclose(out, 200, rtol=1e-4)


def test_skin_is_darker_by_the_depth_of_a_crease() -> None:
    """A vertex pushed down by d lies d below the mean of its neighbours: light falls by exp(-12 d), up to 4 mm, by
    less on the forehead; skin that the photo shows creased already stays."""
    side = 41
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    flat = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, d), (a, d, c))]).astype(np.int32)
    cheek, forehead, creased, deep = (index[row, 20] for row in (5, 35, 10, 15))
    placed = flat.copy()
    placed[[cheek, forehead, creased], 2] = -0.02
    placed[deep, 2] = -0.3
    landmarks = np.full(468, index[20, 20])
    submesh = SimpleNamespace(triangles=triangles, neutral=flat, landmarks=landmarks, kind=np.full(len(flat), FACE))
    creases = np.zeros(len(flat), np.float32)
    creases[creased] = 0.02
    face = SimpleNamespace(light=np.float32([100, 0, 0, 0]), shade=np.full(len(flat), 100.0), creases=creases)
    light = reexpress.relight(face, submesh, placed)
    assert light[cheek] == pytest.approx(np.exp(-12 * 0.02), rel=1e-3)
    assert light[forehead] == pytest.approx(np.exp(-12 * 0.02 * 0.3), rel=1e-3)
    assert light[creased] == pytest.approx(1) and light[deep] == pytest.approx(np.exp(-12 * 0.04), rel=1e-3)
    assert light[index[25, 5]] == 1
    dark = SimpleNamespace(**vars(face) | {"shade": np.full(len(flat), 30.0)})
    assert reexpress.relight(dark, submesh, flat).max() == 1.25, "a photo's shade is no reason to glow"


def test_the_light_of_a_photo_is_found_among_outliers() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4000, 3)) * (1, 1, 0.5) + (0, 0, 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    true = np.array([110, 20, -10, 30])
    value = true[0] + normals @ true[1:]
    value[rng.random(4000) < 0.2] = 255  # highlights, hair, glasses: a fifth
    found = portrait.fit_light(np.repeat(value[:, None], 3, 1), normals)
    np.testing.assert_allclose(found, true, atol=4)  # least squares alone: 25 off


# ---- What lies over a face


def test_what_lies_over_a_face_moves_and_lights_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-made square over a grey pair: its own colour on it, its shadow below it, flow and light 0 under it."""
    size, edge = 128, 40
    alpha = np.zeros((size, size), np.float32)
    alpha[20:edge, 20:100] = 1
    color = np.full((size, size, 3), 50, np.float32)
    for shape in ("hand", "microphone", "hair"):
        monkeypatch.setattr(occluding, shape, lambda *given: (color, alpha))
    pair = {
        "target": np.full((size, size, 3), 200, np.uint8), "truth": np.full((size, size, 3), 100, np.uint8),
        "target_points": np.zeros((478, 2), np.float32), "mask": np.full((size, size), SKIN, np.uint8),
        "flow": np.ones((size // 2, size // 2, 2), np.float16), "light": np.ones((size // 2, size // 2), np.float16),
    }  # fmt: skip
    occluding.occlude(pair, np.random.default_rng(0))
    over = alpha > 0
    assert (pair["target"][over] == 50).all() and (pair["truth"][over] == 50).all()
    assert (pair["mask"][over] == OCCLUDER).all() and (pair["mask"][~over] == SKIN).all()
    under = over[1::2, 1::2]
    for name in ("flow", "light"):
        assert not pair[name][under].any() and (pair[name][~under] == 1).all(), name
    down, sigma = int(0.015 * size), 0.012 * size
    for pixels in range(4):
        dark = 1 - 0.35 * half(-(pixels + 0.5 - down), sigma)
        assert pair["target"][edge + pixels, 60, 0] == pytest.approx(200 * dark, abs=2)
        assert pair["truth"][edge + pixels, 60, 0] == pytest.approx(100 * dark, abs=2)
    assert (pair["target"][80:] == 200).all()
