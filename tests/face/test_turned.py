"""Faces however a picture is turned; all of a crowd; and nothing that is no face."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fetfast import assets
from fetfast.errors import NoFace
from fetfast.face import Landmarker, select
from fetfast.image import load

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker()


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    """Squares that a face fills as it does a portrait: one photo, three renders."""
    astronaut = load(assets.path("astronaut.png"))[20:230, 120:330]
    return [astronaut, *(load(DEMO / f"{name}.png")[40:] for name in ("smile", "surprise", "wink"))]


def turned(points: np.ndarray, height: int, width: int, quarters: int) -> np.ndarray:
    """Points [..., 2] of a frame in the frame turned so many quarters clockwise."""
    for _ in range(quarters):
        points = np.stack([height - points[..., 1], points[..., 0]], axis=-1)
        height, width = width, height
    return points


def read_alike(landmarker, frame, quarters):
    """Whether the face of a turned frame is found, once, with the landmarks and the expression of the upright one."""
    (upright,) = landmarker.detect(frame)
    found = landmarker.detect(np.rot90(frame, -quarters))
    if len(found) != 1:
        return False
    expected = turned(upright.landmarks[:, :2], *frame.shape[:2], quarters)
    unit = np.linalg.norm(np.subtract(*expected[[468, 473]]))
    distance = np.linalg.norm(found[0].landmarks[:, :2] - expected, axis=1).mean() / unit
    return distance < 0.1 and np.abs(found[0].blendshapes - upright.blendshapes).mean() < 0.02


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_is_read_as_the_upright_one(landmarker, people, quarters):
    assert all(read_alike(landmarker, frame, quarters) for frame in people)


def test_upside_down_portraits_stand_on_their_feet(landmarker, shared):
    files = sorted((shared / "portraits").glob("*.jpg"))[::8]
    assert all(read_alike(landmarker, load(file), 2) for file in files)


def test_an_upside_down_driver_is_read(landmarker, shared):
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    with av.open(str(shared / "cases" / "upside_down.mp4")) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    smiles = [face.blendshapes[44:46].mean() for frame in frames[::5] for face in landmarker.detect(frame)]
    assert len(smiles) == len(frames[::5]) and max(smiles) == pytest.approx(0.9, abs=0.1)


def crowd(people, across: int, side: int) -> np.ndarray:
    frame = np.zeros((across * side, across * side, 3), np.uint8)
    for i in range(across**2):
        y, x = (side * k for k in divmod(i, across))
        person = Image.fromarray(people[i % len(people)]).resize((side, side), Image.Resampling.LANCZOS)
        frame[y : y + side, x : x + side] = np.asarray(person)
    return frame


@pytest.mark.parametrize(("across", "side"), [(3, 166), (6, 96)])
def test_everyone_of_a_crowd_is_found_once(landmarker, people, across, side):
    found = landmarker.detect(crowd(people, across, side), everyone=True)
    cells = {tuple(int(middle // side) for middle in face.landmarks[:, :2].mean(0)) for face in found}
    assert len(found) == len(cells) == across**2


@pytest.mark.parametrize(("across", "side"), [(6, 166), (8, 125)])
def test_everyone_of_a_crowd_of_portraits_is_found_once(landmarker, shared, across, side):
    people = [load(file) for file in sorted((shared / "portraits").glob("*.jpg"))]
    found = landmarker.detect(crowd(people, across, side), everyone=True)
    cells = {tuple(int(middle // side) for middle in face.landmarks[:, :2].mean(0)) for face in found}
    assert len(found) == len(cells) == across**2


def test_small_people_behind_a_large_one_are_found_where_all_are_asked_for(landmarker, people):
    frame = np.full((900, 1600, 3), 128, np.uint8)
    large, small = (Image.fromarray(people[i]).resize((side, side)) for i, side in ((1, 800), (0, 90)))
    frame[50:850, 50:850] = np.asarray(large)
    for x in (1000, 1200, 1400):
        frame[400:490, x : x + 90] = np.asarray(small)
    assert len(landmarker.detect(frame)) == 1 and len(landmarker.detect(frame, everyone=True)) == 4


def test_what_the_detector_takes_for_a_face_is_none(landmarker):
    """Coins and cells that the detector finds, and that the landmark network calls faces."""
    data = pytest.importorskip("skimage.data")
    for grey, turn in ((data.coins(), 1), (data.coins(), 3), (data.cell(), 2)):
        frame = np.rot90(np.repeat(grey[:, :, None], 3, axis=2), turn)
        levels = range(landmarker._detector.levels(frame, 15))
        assert any(landmarker._detector.find(frame, level) for level in levels), "the test's own ground"
        assert landmarker.detect(frame, 15, everyone=True) == []


def test_a_hand_is_no_face(landmarker, shared):
    frame = load(shared / "cases" / "hand_003.jpg")
    for quarters in range(4):
        with pytest.raises(NoFace):
            select(landmarker.detect(np.rot90(frame, quarters)))


def test_a_turned_or_covered_face_takes_less(landmarker, people):
    """Nothing in profile, all of it up to 45 degrees; and less where half of it cannot be seen."""
    (face,) = landmarker.detect(people[0])
    assert face.trust == pytest.approx(1, abs=0.05) and abs(face.roll) < 15
    for degrees, least, most in ((-40, 0.95, 1), (60, 0.2, 0.7), (-75, 0, 0)):
        pose = np.array([[np.cos(a := np.radians(degrees)), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
        turned_face = replace(face, landmarks=face.landmarks @ face.pose @ pose)
        assert abs(turned_face.yaw) == pytest.approx(abs(degrees), abs=1) and least <= turned_face.trust <= most
    assert replace(face, doubt=0.1).trust == pytest.approx(0.4, abs=0.05)
    half = people[0].copy()
    x0, y0, x1, y1 = (int(value) for value in face.box)
    half[y0:y1, x0 : (x0 + x1) // 2] = 120
    (covered,) = landmarker.detect(half)
    assert covered.doubt > face.doubt and covered.trust < face.trust
