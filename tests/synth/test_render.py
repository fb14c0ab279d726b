"""The z-buffer, the camera, and pictures of the morphable model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from fetfast import image
from fetfast.face import Landmarker
from fetfast.spec import BLENDSHAPES
from fetfast.synth.appearance import random_appearance
from fetfast.synth.camera import Pose, rotation_matrix, rotation_vector, turn_eyes
from fetfast.synth.facekit import Facekit
from fetfast.synth.materials import Charts, noise, signed_distance
from fetfast.synth.raster import halve, interpolate, rasterize, vertex_normals
from fetfast.synth.render import render

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kit(shared):
    return Facekit.open(shared / "ict_facekit_f16.npz")


def draw(points, triangles, size):
    seen, weights = np.full((size, size), -1, np.int32), np.zeros((size, size, 3), np.float32)
    rasterize(np.float32(points), np.int32(triangles), seen, weights, np.zeros((size, size), np.float32))
    return seen, weights


FRONT = np.array([[4, 4, 0.01], [4, 28, 0.01], [28, 28, 0.01], [28, 4, 0.01]])
QUAD = np.array([[0, 1, 2], [0, 2, 3]])


def test_pixels_are_sampled_at_their_centres_without_gaps():
    seen, weights = draw(FRONT, QUAD, 32)
    assert (seen[4:28, 4:28] >= 0).all() and (seen >= 0).sum() == 24 * 24
    assert np.allclose(weights[seen >= 0].sum(1), 1, atol=1e-5)


def test_the_nearer_triangle_is_seen_and_back_faces_are_not():
    both = np.concatenate([FRONT, FRONT + np.array([0, 0, 0.01])])
    for order in ([0, 1], [1, 0]):
        triangles = np.concatenate([QUAD + 4 * n for n in order])
        seen, _ = draw(both, triangles, 32)
        assert (triangles[seen[16, 16]] >= 4).all()
    assert (draw(FRONT, QUAD[:, ::-1], 32)[0] < 0).all()
    assert (draw(FRONT, np.zeros((0, 3)), 32)[0] < 0).all()
    assert (draw(FRONT - np.array([100, 0, 0]), QUAD, 32)[0] < 0).all()


def test_attributes_are_perspective_correct():
    pose = Pose(np.array([0.4, -0.7, 0.2]), np.array([0, 0, -30.0]), 60.0, (32.0, 32.0))
    corners = np.float32([[-8, 8, 0], [-8, -8, 0], [8, -8, 0], [8, 8, 0]])
    placed = pose.place(corners)
    seen, weights = draw(pose.project(placed), QUAD, 64)
    found = np.zeros((64, 64, 3), np.float32)
    interpolate(seen, weights, np.int32(QUAD), corners, found)
    rows, columns = np.nonzero(seen >= 0)
    assert len(rows) > 500
    # The same pixels, by meeting the rays with the plane.
    normal = rotation_matrix(pose.rotation)[:, 2]
    ray = np.stack([(columns + 0.5 - 32) / 60, -(rows + 0.5 - 32) / 60, -np.ones(len(rows))], 1)
    hit = ray * (normal @ pose.translation / (ray @ normal))[:, None]
    truth = (hit - pose.translation) @ rotation_matrix(pose.rotation)
    assert np.abs(found[rows, columns] - truth).max() < 2e-3  # of 16 cm: f32 edge functions


def test_normals_of_a_sphere():
    turn, tilt = np.meshgrid(np.linspace(0, 2 * np.pi, 61), np.linspace(0.05, np.pi - 0.05, 31), indexing="ij")
    ball = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], -1).reshape(-1, 3)
    index = np.arange(61 * 31).reshape(61, 31)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    normals = vertex_normals(ball.astype(np.float32), triangles.astype(np.int32))
    inner = index[1:-1, 1:-1].ravel()
    facing = (normals * ball).sum(1)[inner]
    assert (np.abs(facing) > 0.99).all() and len(set(np.sign(facing))) == 1  # all out, or all in


def test_halve():
    picture = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)
    assert np.allclose(halve(picture), picture.reshape(3, 2, 4, 2, 3).mean((1, 3)), atol=1e-6)


@pytest.mark.parametrize("vector", [(0, 0, 0), (0.3, -0.2, 0.1), (0, 2.5, 0.4)])
def test_rotations(vector):
    matrix = rotation_matrix(np.array(vector, float))
    assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.isclose(np.linalg.det(matrix), 1)
    assert np.allclose(rotation_vector(matrix), vector, atol=1e-9)


def test_a_turned_head_looks_where_it_should():
    pose = Pose(np.zeros(3), np.array([0, 0, -100.0]), 100.0, (0.0, 0.0))
    nose = np.float32([[0, 0, 10]])
    x, y, near = pose.project(pose.turned(0.3, -0.2).place(nose))[0]
    assert x > 0 and y < 0 and near == pytest.approx(1 / 90, rel=0.05)  # to the subject's left, and up


def test_distance_to_a_polygon():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4.0]])
    assert np.allclose(signed_distance(np.array([[1, 2], [-3, 2], [7, 8.0]]), square), [1, -3, -5])


def test_noise_is_smooth_and_bounded():
    line = np.stack([np.linspace(0, 20, 4001), np.zeros(4001), np.zeros(4001)], 1).astype(np.float32)
    values = noise(line, 3)
    assert np.abs(values).max() <= 1 and values.std() > 0.2
    assert np.abs(np.diff(values)).max() < 0.02  # a cell is 200 steps, its slope at most 3
    assert not np.array_equal(values, noise(line, 4))


def test_eyes_turn_alone(kit):
    turned = turn_eyes(kit, kit.neutral, np.array([[0.3, 0.0], [0.0, 0.2]]))
    left, right = kit.parts("IrisLeft"), kit.parts("IrisRight")
    assert np.array_equal(turned[~(left | right)], kit.neutral[~(left | right)])
    front = [int(np.flatnonzero(ball)[kit.neutral[ball, 2].argmax()]) for ball in (left, right)]
    moved = turned[front] - kit.neutral[front]
    assert moved[0, 0] > 0.3 and abs(moved[0, 1]) < 0.05  # to the subject's left
    assert moved[1, 1] > 0.2 and abs(moved[1, 0]) < 0.05  # up


def picture(kit, appearance, expression=None):
    shape = kit.express(kit.neutral, np.zeros(53) if expression is None else expression)
    pose = Pose(np.zeros(3), np.array([0, 0, -100.0]), 320.0, (48.0, 48.0))
    return render(kit, Charts.of(kit), shape, np.zeros((2, 2)), pose, appearance, 96)[0]


def test_a_person_is_the_same_for_the_same_seed(kit):
    appearance = random_appearance(np.random.default_rng(5))
    first = picture(kit, appearance)
    assert first.dtype == np.uint8 and first.shape == (96, 96, 3)
    assert np.array_equal(first, picture(kit, random_appearance(np.random.default_rng(5))))
    darker = picture(kit, replace(appearance, skin=appearance.skin * 0.3))
    assert darker[40:60, 40:56].mean() < 0.8 * first[40:60, 40:56].mean()


@pytest.mark.parametrize("style", ["bald", "short", "long"])
def test_every_style_leaves_the_face_free(kit, style):
    appearance = replace(random_appearance(np.random.default_rng(1)), style=style, glasses=0.0, recede=0.0)
    bald = picture(kit, replace(appearance, style="bald"))
    nose = (slice(44, 56), slice(42, 54))
    assert np.abs(picture(kit, appearance)[nose].astype(int) - bald[nose]).mean() < 12  # but for shadows


@pytest.mark.parametrize(("name", "read"), [
    ("smile", {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}),
    ("surprise", {"jawOpen": 0.4, "browInnerUp": 0.6}),
    ("wink", {"eyeBlinkLeft": 0.4}),
])  # fmt: skip
def test_the_demo_pictures_show_the_expression_meant(name, read):
    file = ROOT / "demo" / f"{name}.png"
    assert file.stat().st_size < 250_000
    shapes = dict(zip(BLENDSHAPES, Landmarker(threads=1).detect(image.load(file))[0].blendshapes, strict=True))
    assert all(shapes[mode] > least for mode, least in read.items())
    if name == "wink":
        assert shapes["eyeBlinkLeft"] > shapes["eyeBlinkRight"] + 0.2
