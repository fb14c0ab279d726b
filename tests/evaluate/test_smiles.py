"""True smiles and faces driven by themselves, on pictures whose answer is known."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fetfast import image
from fetfast.evaluate import groups, points, smiles
from fetfast.evaluate.album import Album
from fetfast.evaluate.figures import add_up, estimates
from fetfast.evaluate.setup import Person
from fetfast.face import Landmarker

if reason := points.why_not():
    pytest.skip(reason, allow_module_level=True)

import cv2

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def people():
    """The demo's faces: name -> Person."""
    landmarker = Landmarker(threads=1)
    frames = {name: image.load(DEMO / f"{name}.png") for name in ("smile", "surprise")}
    return {name: Person(name, frame, landmarker.detect(frame)[0]) for name, frame in frames.items()}


@pytest.fixture(scope="module")
def look():
    return points.judge()


def turned(person, degrees, scale, shift):
    """The same picture turned, scaled and moved, with its landmarks."""
    height, width = person.frame.shape[:2]
    M = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    M[:, 2] += shift
    frame = cv2.warpAffine(person.frame, M, (width, height), borderMode=cv2.BORDER_REPLICATE)
    landmarks = person.face.landmarks.copy()
    landmarks[:, :2] = landmarks[:, :2] @ M[:, :2].T + M[:, 2]
    return Person("turned", frame, replace(person.face, landmarks=landmarks.astype(np.float32)))


def setup_of(look, people, **methods):
    """A setup of these ways alone; `engines` are all but the copy and the driver."""
    ways = {"plan": methods["plan"], "copy": lambda person, face, frame: person.frame}
    ways["driver"] = lambda person, face, frame: frame
    return SimpleNamespace(
        look=look,
        methods=ways,
        engines={"plan": None},
        people=people,
        album=Album(open=True),
        bar=lambda items, what: items,
    )


def test_a_smile_is_laid_over_the_resting_face(people):
    person = people["smile"]
    other = turned(person, 12, 0.9, (9, -14))
    M = smiles.aligned(person, other)
    a, b = (points.upright(p.frame, m).astype(float) for p, m in ((person, person.M), (other, M)))
    inner = slice(60, -60)
    assert np.abs(a - b)[inner, inner].mean() < 3
    unaligned = points.upright(other.frame, person.M).astype(float)
    assert np.abs(a - unaligned)[inner, inner].mean() > 8


def test_what_the_mouth_does_is_not_aligned_away(people):
    """Landmarks of the mouth may go where they will."""
    person = people["smile"]
    landmarks = person.face.landmarks.copy()
    landmarks[[61, 291, 17, 152]] += 25
    moved = Person("moved", person.frame, replace(person.face, landmarks=landmarks))
    assert np.allclose(smiles.aligned(person, moved), person.M, atol=1e-2)


def test_true_smiles_by_ways_whose_answer_is_known(people, look):
    """Driven by the surprised face turned a little: who gives the truth gains all, who copies gains nothing."""
    target = people["smile"]
    truth = target.frame.copy()
    truth[330:430, 180:330] = people["surprise"].frame[330:430, 180:330]  # another mouth
    driver = turned(Person("t", truth, target.face), 5, 1.0, (3, 2))
    pair = smiles.Pair(target, driver, smiles.aligned(target, driver))
    setup = setup_of(look, [], plan=lambda person, face, frame: truth)
    found = estimates(add_up(smiles.true_smiles(setup, [pair])))
    assert found["mouth, dB over copy"]["copy"][0] == 0 and found["face, dB over copy"]["copy"][0] == 0
    assert found["mouth, dB over copy"]["plan"][0] > 10 and found["face, dB"]["plan"][0] > 30
    tint = {method: found["black and white: mouth, chroma, levels"][method][0] for method in ("plan", "copy")}
    assert tint["copy"] == 0 and tint["plan"] > 5, "a truth in colour, whatever the target is"
    assert found["face, SSIM"]["plan"][0] > 0.95 > found["face, SSIM"]["copy"][0]
    assert found["mouth, dB"]["plan"][0] - found["mouth, dB"]["copy"][0] == pytest.approx(
        found["mouth, dB over copy"]["plan"][0]
    )
    worst, _ = setup.album.pages()["smiles"]
    assert set(worst[0].pictures) == {"target", "truth", "result"}
    if "teeth, brightness over the truth's" in found:
        assert found["teeth, brightness over the truth's"]["plan"][0] == pytest.approx(1, abs=0.1)


def test_chroma_is_the_spread_of_the_channels(people):
    frame = people["smile"].frame
    grey = smiles.grey(frame)
    assert np.ptp(grey, axis=2).max() == 0 and abs(grey.mean() - frame.mean()) < 12
    pixels = np.zeros((3, smiles.SIDE, smiles.SIDE), np.float32)
    pixels[0] = 10 / 127.5
    box = np.zeros(pixels.shape[1:], bool)
    box[:9, :9] = True
    assert smiles.chroma(pixels, box) == pytest.approx(10)


def test_whiteness_is_of_what_lies_between_the_lips(look, people):
    frame = people["surprise"].frame
    M = people["surprise"].M
    seen = look(frame, M)
    lips = np.round(seen.points[60:68] * points.SIDE).astype(np.int32)
    values = []
    for level in (60, 120, 240):
        picture = seen.picture.copy()
        cv2.fillPoly(picture, [lips], (level, level, level))
        values.append(smiles.whiteness(points.Look(picture, seen.points, seen.lids), seen))
    assert values[1] / values[0] == pytest.approx(2, rel=0.05) and values[2] / values[0] == pytest.approx(4, rel=0.05)


def test_a_face_driven_by_itself(people, look):
    def smears(person, face, frame):
        result = person.frame.copy()
        x0, y0, x1, y1 = (
            int(v) for v in (*person.face.landmarks[[61, 0], :2].min(0), *person.face.landmarks[[291, 17], :2].max(0))
        )
        result[y0:y1, x0:x1] = cv2.GaussianBlur(result[y0:y1, x0:x1], (0, 0), 4)
        return result

    pair = smiles.Pair(people["surprise"], people["smile"], people["smile"].M)
    for way, low, high in ((lambda p, face, frame: p.frame, 99, 101), (smears, 10, 35)):
        setup = setup_of(look, [people["smile"]], plan=way)
        found = estimates(add_up(smiles.itself(setup, [pair])))
        cases = {f"{k}, {w}, dB" for k in ("resting", "smiling", "any") for w in ("face", "eyes", "mouth")}
        assert set(found) == cases | {"smiling, mouth, dB, teeth shown"}
        assert all(low < found[f"{kind}, mouth, dB"]["plan"][0] < high for kind in ("resting", "smiling", "any"))
        assert all(row["plan"][0] > 55 for name, row in found.items() if "eyes" in name)


# ---- Groups of people


def toned(look, rgb):
    """A look whose skin has one colour."""
    picture = np.full((points.SIDE, points.SIDE, 3), rgb, np.uint8)
    return points.Look(picture, look.points, look.lids)


def test_skin_by_its_angle(look, people):
    seen = look(people["smile"].frame, people["smile"].M)
    assert [groups.skin(toned(seen, rgb)) for rgb in ((241, 205, 180), (190, 138, 100), (80, 52, 40))] == [
        "light", "medium", "dark"]  # fmt: skip


def test_a_beard_is_a_dark_grey_rough_chin(look, people):
    seen = look(people["smile"].frame, people["smile"].M)
    assert groups.beard(seen) < groups.BEARD
    picture = seen.picture.copy()
    chin = np.round(np.concatenate([seen.points[3:14], seen.points[54:60]]) * points.SIDE).astype(np.int32)
    cover = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(cover, [chin], 1)
    hair = np.random.default_rng(0).integers(20, 75, picture.shape[:2], np.uint8)
    picture[cover > 0] = hair[cover > 0][:, None]
    assert groups.beard(points.Look(picture, seen.points, seen.lids)) > groups.BEARD


def test_what_people_told(tmp_path):
    (tmp_path / "people.csv").write_text("id,age,gender,group\n001,24,female,white\n003,NA,male,NA\n005,51,NA,black\n")
    assert groups.told(tmp_path) == {
        "001": {"gender": "female", "group": "white", "age": "under 30"},
        "003": {"gender": "male"},
        "005": {"group": "black", "age": "30 and over"},
    }


def test_glasses_are_an_edge_across_the_bridge_of_the_nose(people):
    pytest.importorskip("numba")
    person = people["smile"]
    frame = person.frame.copy()
    (x0, y0), (x1, y1) = person.face.landmarks[[133, 362], :2].astype(int)
    cv2.line(frame, (x0, y0 - 4), (x1, y1 - 4), (5, 5, 5), 7)
    assert groups.glasses(person) == "no" and groups.glasses(Person("g", frame, person.face)) == "yes"


def test_the_london_set_is_read(shared, look):
    setup = SimpleNamespace(data=shared, bar=lambda items, what: items)
    landmarker = Landmarker(threads=1)
    setup.person = lambda name, frame: Person(name, frame, landmarker.detect(frame)[0])
    first, last = smiles.read(setup, 2)
    assert first.neutral.name == "london 001" and last.smile.name > first.smile.name
    assert first.smile.face.blendshapes[44:46].mean() > first.neutral.face.blendshapes[44:46].mean() + 0.2
