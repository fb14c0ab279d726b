"""Each judge on pictures whose answer is known: the repo's own renders, and a photograph that anybody can fetch."""

from pathlib import Path

import numpy as np
import pytest

from fetfast import assets, image
from fetfast.evaluate import emotion, motion, points
from fetfast.face import Landmarker, crop_matrix

if reason := points.why_not():
    pytest.skip(reason, allow_module_level=True)

import cv2

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def pictures():
    """name -> (frame, crop matrix) of the demo's renders and of the astronaut, who smiles with teeth."""
    landmarker = Landmarker(threads=1)
    frames = {name: image.load(DEMO / f"{name}.png") for name in ("smile", "surprise", "wink")}
    frames["astronaut"] = image.load(assets.path("astronaut.png"))
    return {name: (frame, crop_matrix(landmarker.detect(frame)[0].landmarks)) for name, frame in frames.items()}


@pytest.fixture(scope="module")
def looks(pictures):
    judge = points.judge()
    return {name: judge(*picture) for name, picture in pictures.items()}


def test_a_wink_is_one_shut_eye(looks):
    """Its left: `demo/render.py`. dlib alone reads half of it off the right eye, too."""
    right, left = looks["wink"].lids
    assert left < 0.2 < 0.25 < right and left < 0.65 * right
    for name in ("smile", "surprise", "astronaut"):
        right, left = looks[name].lids
        assert min(right, left) > 0.2 and max(right, left) < 1.4 * min(right, left), name


def test_the_mouths_of_a_smile_and_of_surprise(looks):
    smile, surprise = looks["smile"].mouth, looks["surprise"].mouth
    assert surprise[0] > smile[0] + 0.1, "the jaw drops"
    assert smile[1] > surprise[1] + 0.1, "a smile is wider"
    assert smile[2] > surprise[2], "its corners are higher"


def test_landmarks_lie_where_the_face_is(looks, pictures):
    for name, (frame, M) in pictures.items():
        shown, found = points.upright(frame, M), looks[name].points
        assert shown.shape == (points.SIDE, points.SIDE, 3) and np.array_equal(shown, looks[name].picture)
        assert 0.3 < looks[name].unit < 0.42  # the crop is 2.8 of the landmarker's eye distances wide
        nose, chin, right, left = found[30], found[8], found[36], found[45]
        assert right[0] < nose[0] < left[0] and right[1] < nose[1] < chin[1], name


def test_a_mirrored_face_is_read_mirrored(pictures, looks):
    frame, M = pictures["wink"]
    turned = M.copy()
    turned[0] = -turned[0]
    turned[0, 2] += frame.shape[1]
    turned = turned @ np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]], np.float32)
    mirrored = points.judge()(np.ascontiguousarray(frame[:, ::-1]), turned.astype(np.float32))
    assert np.abs(mirrored.lids - looks["wink"].lids[::-1]).max() < 0.07


def test_an_iris_that_moves(looks):
    """Painted: two white eyes with a dark disc each, moved by known amounts."""
    look = looks["surprise"]
    first, wide = 36, 96

    def painted(shift):
        picture = look.picture.copy()
        eye = look.points[first : first + 6] * points.SIDE
        cv2.fillPoly(picture, [np.round(eye).astype(np.int32)], (235, 235, 235))
        width = np.linalg.norm(eye[3] - eye[0])
        centre = (eye[0] + eye[3]) / 2 + np.array(shift) * width
        cv2.circle(picture, tuple(int(v) for v in np.round(centre * 16)), int(0.17 * width * 16), (30, 20, 20), -1,
                   cv2.LINE_AA, 4)  # fmt: skip
        return points.Look(picture, look.points, look.lids).irises[0]

    middle = painted((0, 0))
    for x in (-0.15, 0.12):
        moved = painted((x, 0)) - middle
        assert moved[0] == pytest.approx(x, abs=0.035) and abs(moved[1]) < 0.04, wide


def shifted(look, dx, dy, where, radius=28):
    """The picture with what lies round a landmark moved by pixels, fading out round it."""
    y, x = np.mgrid[: points.SIDE, : points.SIDE].astype(np.float32)
    cx, cy = look.points[where] * points.SIDE
    weight = np.exp(-((np.hypot(x - cx, y - cy) / radius) ** 4))
    picture = cv2.remap(look.picture, x - dx * weight, y - dy * weight, cv2.INTER_LINEAR)
    return points.Look(picture, look.points, look.lids)


def test_what_moves_is_seen_where_it_moves(looks):
    look = looks["astronaut"]
    unit = look.unit * points.SIDE
    still = motion.motion(look, look)[0]
    assert set(still.values()) == {(0.0, 0.0)}
    (moved,) = motion.motion(look, shifted(look, -4, -6, 48))  # the right corner of the mouth, out and up
    assert motion.along(moved, "corner", "up", "right") == pytest.approx(6 / unit, rel=0.25)
    assert motion.along(moved, "corner", "out", "right") == pytest.approx(4 / unit, rel=0.3)
    assert motion.along(moved, "corner", "right", "right") == motion.along(moved, "corner", "out", "right")
    for part, side in (("corner", "left"), ("inner brow", "right"), ("outer brow", "left")):
        assert motion.size(moved, part, side) < 0.15 * motion.size(moved, "corner", "right")


def test_steps_of_one_movement_add_up(looks):
    look = looks["astronaut"]
    half, whole = shifted(look, 0, 5, 25, 60), shifted(look, 0, 10, 25, 60)
    steps = motion.motion(look, half, whole)
    downs = [-motion.along(m, "outer brow", "up", "left") * look.unit * points.SIDE for m in steps]
    assert downs[0] == pytest.approx(5, rel=0.25) and downs[1] == pytest.approx(10, rel=0.25)


def test_lids_count_as_a_share_of_their_opening(looks):
    look = looks["surprise"]
    shut = points.Look(look.picture.copy(), look.points, look.lids * np.array([0.25, 1], np.float32))
    (moved,) = motion.motion(look, shut)
    assert motion.along(moved, "lid", "open", "right") == pytest.approx(-0.75)
    assert motion.along(moved, "lid", "open", "left") == 0


def test_an_eye_that_is_shut_at_rest_tells_nothing(looks):
    look = looks["surprise"]
    dark = points.Look(look.picture, look.points, np.array([0.1, 0.3], np.float32))
    after = points.Look(look.picture.copy(), look.points, np.array([0.4, 0.9], np.float32))
    (moved,) = motion.motion(dark, after)
    assert np.isnan(moved["lid", "right"][1]) and np.isnan(moved["iris", "right"]).all()
    assert moved["lid", "left"][1] == 1, "at most twice as wide"
    assert np.isfinite([moved[place] for place in moved if place[0] not in ("lid", "iris")]).all()


@pytest.mark.parametrize("name", emotion.CLASSIFIERS)
def test_emotions(name, pictures):
    read = emotion.judge(name, threads=1)
    found = {who: dict(zip(emotion.EMOTIONS, read(*picture), strict=True)) for who, picture in pictures.items()}
    for seen in found.values():
        assert sum(seen.values()) == pytest.approx(1, abs=1e-3)
    assert max(found["astronaut"], key=found["astronaut"].get) == "happiness"
    assert max(found["surprise"], key=found["surprise"].get) in ("surprise", "fear")


def test_a_file_that_was_changed_is_refused(monkeypatch):
    name = "shape_predictor_5_face_landmarks.dat"
    assert Path(points.model(name)).name == name
    monkeypatch.setitem(points.FILES, name, "0" * 64)
    with pytest.raises(Exception, match="SHA-256"):
        points.model(name)
