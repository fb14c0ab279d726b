"""Faces are found where they are, however they lie in the frame, each once; and read the same wherever they lie."""

import numpy as np
import pytest
from PIL import Image

from fetfast.errors import BadInput, NoFace
from fetfast.face import Face, Landmarker, crop_matrix, select, to_crop, to_frame

IRISES = [468, 473]


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker()


@pytest.fixture(scope="module")
def face(landmarker, portrait) -> Face:
    (found,) = landmarker.detect(portrait)
    return found


def interocular(face):
    return float(np.linalg.norm(np.subtract(*face.landmarks[IRISES, :2])))


def distance(found: Face, expected: np.ndarray) -> float:
    """Mean distance of landmarks from points [478, 2], in interocular distances of the points."""
    unit = np.linalg.norm(np.subtract(*expected[IRISES]))
    return float(np.linalg.norm(found.landmarks[:, :2] - expected, axis=1).mean() / unit)


def placed(portrait, matrix, width, height):
    """The portrait through a frame-to-frame similarity [2, 3], on grey."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    picture = Image.fromarray(portrait).transform(
        (width, height), Image.Transform.AFFINE, inverse.ravel(), Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)
    )
    return np.array(picture)


def similarity(angle, scale, x, y, cx=384, cy=400):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return np.column_stack([turn, np.array([x, y]) - turn @ (cx, cy)])


@pytest.mark.parametrize("degrees", [-45, -20, 20, 45])
def test_turned_faces_are_read_alike(landmarker, portrait, face, degrees):
    M = similarity(np.radians(degrees), 0.8, 384, 400)
    found = landmarker.detect(placed(portrait, M, 768, 768))
    assert len(found) == 1
    assert distance(found[0], face.landmarks[:, :2] @ M[:, :2].T + M[:, 2]) < 0.05
    assert np.abs(found[0].blendshapes - face.blendshapes).mean() < 0.04


@pytest.mark.parametrize(("scale", "x", "y"), [(0.1, 300, 300), (0.1, 1750, 80), (0.2, 960, 1000), (1.2, 960, 540)])
def test_small_and_large_faces_are_found(landmarker, portrait, face, scale, x, y):
    M = similarity(0, scale, x, y)  # at 0.1 the face is about 35 pixels wide in full HD
    found = landmarker.detect(placed(portrait, M, 1920, 1080))
    assert len(found) == 1
    assert distance(found[0], face.landmarks[:, :2] @ M[:, :2].T + M[:, 2]) < 0.1


def test_a_face_at_the_edge_is_found(landmarker, portrait, face):
    M = similarity(0, 0.6, 90, 300)  # its right ear is out of the frame
    found = landmarker.detect(placed(portrait, M, 640, 480))
    assert len(found) == 1
    assert distance(found[0], face.landmarks[:, :2] @ M[:, :2].T + M[:, 2]) < 0.12


def test_several_faces_each_once(landmarker, portrait, smile):
    frame = np.full((768, 1800, 3), 128, np.uint8)
    frame[:, :768] = portrait
    frame[100:612, 800:1312] = smile
    frame[300:556, 1400:1656] = np.array(Image.fromarray(portrait).resize((256, 256)))
    found = landmarker.detect(frame)
    assert len(found) == 3
    widths = [f.box[2] - f.box[0] for f in found]
    assert widths == sorted(widths, reverse=True)


def test_nobody_is_nobody(landmarker):
    rng = np.random.default_rng(0)
    assert landmarker.detect(np.zeros((480, 640, 3), np.uint8)) == []
    assert landmarker.detect(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)) == []
    assert landmarker.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_a_clip_without_faces_has_none(landmarker, data):
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    with av.open(str(data / "clips" / "no_face.mp4")) as clip:
        frames = [f.to_ndarray(format="rgb24") for i, f in enumerate(clip.decode(video=0)) if i % 20 == 0]
    assert frames and not any(landmarker.detect(f) for f in frames)


def test_tracking_follows_and_lets_go(landmarker, portrait, face):
    moved = np.roll(portrait, (9, -14), axis=(0, 1))
    tracked = landmarker.track(moved, face)
    assert tracked is not None
    assert distance(tracked, face.landmarks[:, :2] + (-14, 9)) < 0.03
    assert landmarker.track(np.zeros_like(portrait), face) is None


def test_any_strides_are_read(landmarker, portrait, face):
    flipped = portrait[:, ::-1][:, ::-1]
    np.testing.assert_allclose(landmarker.detect(flipped)[0].landmarks, face.landmarks, atol=1e-3)


def test_values_are_in_their_ranges(face, portrait):
    assert face.landmarks.shape == (478, 3) and face.landmarks.dtype == np.float32
    assert face.blendshapes.shape == (52,) and 0 <= face.blendshapes.min() <= face.blendshapes.max() <= 1
    assert 0.5 <= face.score <= 1
    assert face.landmarks[1, 2] < face.landmarks[[234, 454], 2].min(), "the nose's tip is nearer than the ears"


def test_pose_turns_with_the_head(landmarker, portrait, face):
    assert np.linalg.det(face.pose) == pytest.approx(1, abs=1e-4)
    assert np.degrees(np.arccos((np.trace(face.pose) - 1) / 2)) < 25
    M = similarity(np.radians(30), 0.8, 384, 400)
    turned = landmarker.detect(placed(portrait, M, 768, 768))[0].pose @ face.pose.T
    assert np.degrees(np.arctan2(turned[1, 0], turned[0, 0])) == pytest.approx(30, abs=5)
    mirrored = landmarker.detect(portrait[:, ::-1])[0].pose
    assert mirrored[2, 0] == pytest.approx(-face.pose[2, 0], abs=0.06)


def test_the_crop_holds_the_face_upright(landmarker, portrait, face):
    M = crop_matrix(face.landmarks)
    points = to_crop(face.landmarks[:, :2], M)
    assert 0.08 < points.min() and points.max() < 0.92
    np.testing.assert_allclose(to_frame(points, M), face.landmarks[:, :2], atol=1e-2)
    assert points[33, 1] == pytest.approx(points[263, 1], abs=1e-4), "the eyes lie level"
    shift = similarity(0.5, 0.7, 500, 300)
    turned = face.landmarks[:, :2] @ shift[:, :2].T + shift[:, 2]
    np.testing.assert_allclose(to_crop(turned, crop_matrix(turned)), points, atol=1e-4)


def test_the_crop_does_not_breathe_with_the_mouth(face):
    opened = face.landmarks.copy()
    opened[[152, 148, 377, 17, 14, 200], 1] += 60
    np.testing.assert_array_equal(crop_matrix(opened), crop_matrix(face.landmarks))


def test_faces_are_chosen_by_size_or_from_the_left(face):
    def at(x, size):
        return Face((face.landmarks - face.landmarks.mean(0)) * size + (x, 300, 0), face.blendshapes, 1.0)

    faces = [at(500, 1.0), at(100, 0.5), at(900, 0.7)]
    assert select(faces) == [faces[0]]
    assert select(faces, "all") == [faces[1], faces[0], faces[2]]
    assert select(faces, 2) == [faces[2]]
    for wrong in (3, -1, "leftmost", 1.5, True):
        with pytest.raises(BadInput, match="face is"):
            select(faces, wrong)
    with pytest.raises(NoFace, match=r"in pic\.jpg"):
        select([], "all", "pic.jpg")
