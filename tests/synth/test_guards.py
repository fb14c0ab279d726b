"""Who is shown in a pair, and what is kept out of it, on stand-ins whose right answer is known. Needs no data."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

from fetfast.face import Face
from fetfast.synth import fit as fitting
from fetfast.synth import portrait, portrait_dataset, video_dataset
from fetfast.synth.camera import rotation_matrix
from fetfast.synth.fit import SKIN, Fit

MANY = 3000


@dataclass(frozen=True)
class Who:
    """Stands in for a portrait."""

    name: str


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """(who, is it the photo) of each end that `pair` asks for, with nothing drawn."""
    ends: list[tuple[str, bool]] = []

    def end(model, portrait, wanted, target_points=None):
        ends.append((portrait.name, wanted is None))
        return portrait_dataset.End(np.zeros((4, 4, 3)), np.zeros((478, 2)), np.zeros(52), np.zeros((4, 4)), None)

    for name, stand_in in {
        "end": end, "shaded": lambda submesh, portrait, shade: portrait,
        "varied": lambda submesh, portrait, rng: Who(f"varied {portrait.name}"),
        "random_expression": lambda kit, donors, rng: np.zeros(53),
        "motion": lambda *given: (np.zeros((2, 2, 2)), np.zeros((2, 2))), "occlude": lambda pair, rng: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(portrait_dataset, name, stand_in)
    return ends


def test_shares_of_photos_of_look_alikes_and_of_people_between_two(shown: list[tuple[str, bool]]) -> None:
    alike = [Who("a"), Who("b"), Who("c")]
    model, rng = SimpleNamespace(submesh=None, kit=None), np.random.default_rng(0)
    for _ in range(MANY):
        portrait_dataset.pair(model, Who("own"), None, np.zeros(53), rng, alike)
    targets, truths = shown[::2], shown[1::2]
    assert [who for who, _ in targets] == [who for who, _ in truths], "one person at both ends"
    assert not any(photo for _, photo in truths) and all(who == "own" for who, photo in targets if photo)
    rest = 1 - portrait_dataset.PHOTO
    varied = (rest - portrait_dataset.PHOTO - portrait_dataset.SAME_PERSON) / rest
    wanted = {
        "photo": portrait_dataset.PHOTO / rest, "own": portrait_dataset.SAME_PERSON / rest,
        "varied own": varied * (1 - portrait_dataset.MIXED),
        **{f"varied {who}": varied * portrait_dataset.MIXED / 3 for who in "abc"},
    }  # fmt: skip
    names = ["photo" if photo else who for who, photo in targets]
    assert set(names) == set(wanted) and sum(wanted.values()) == pytest.approx(1)
    for name, share in wanted.items():
        assert names.count(name) / MANY == pytest.approx(share, abs=4 * np.sqrt(share / MANY)), name


def test_a_truth_that_is_the_photo_is_of_the_person_alone(shown: list[tuple[str, bool]]) -> None:
    model, rng = SimpleNamespace(submesh=None, kit=None), np.random.default_rng(0)
    for _ in range(100):
        portrait_dataset.pair(model, Who("own"), None, None, rng, [Who("a")])
    assert set(shown[::2]) == {("own", False)} and set(shown[1::2]) == {("own", True)}


def test_only_who_is_trained_on_is_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And people held out lend their expressions to people held out alone."""
    files = [Path(f"{n:03}.jpg") for n in range(20)]
    found = [(file, SimpleNamespace(expression=np.full(53, n))) for n, file in enumerate(files)]
    kept = [n for n, file in enumerate(files) if portrait_dataset.held_out(file)]
    np.save(tmp_path / "person.npy", np.full(20, -1, np.int32))
    np.save(tmp_path / "source.npy", np.arange(20, dtype=np.int32))
    given = {}
    for name, stand_in in {
        "open_model": lambda facekit: SimpleNamespace(kit=None, submesh=None),
        "prepare": lambda kit, submesh, picture, fit, size: Who("own"),
        "people_like": lambda *given: [Who("between")],
        "draw_group": lambda *given: portrait_dataset.Group(np.zeros(53), False, -1),
        "pair": lambda model, own, donors, wanted, rng, alike: given.update(alike=alike, donors=donors[:, 0]) or {},
    }.items():
        monkeypatch.setattr(portrait_dataset, name, stand_in)
    monkeypatch.setattr(portrait_dataset.image, "load", lambda path: None)
    for person in (0, 2, kept[0]):
        portrait_dataset.fill_rows(Path("kit"), tmp_path, found, 32, 0, person)
        assert given["alike"] == ([] if person in kept else [Who("between")])
        assert set(given["donors"]) == set(range(20)) - (set() if person in kept else set(kept))


def test_nothing_near_glasses_moves_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would bend the frame goes a fifth of its way; the rest, and people without glasses, all of it."""
    names = (*portrait_dataset.NEAR_GLASSES, "jawOpen")
    kit = SimpleNamespace(
        index=lambda *stems: np.array([names.index(s) for s in stems]), to_blendshapes=np.eye(len(names))
    )
    model = SimpleNamespace(kit=kit, submesh=None)
    given = []

    def reexpress(kit, submesh, portrait, expression, target_points):
        given.append(expression)
        return SimpleNamespace(image=None, points=None, regions=None, raster=None)

    monkeypatch.setattr(portrait_dataset, "reexpress", reexpress)
    own, wanted = np.full(len(names), 0.5), np.ones(len(names))
    for glasses in (True, False):
        who = SimpleNamespace(fit=SimpleNamespace(expression=own), glasses=glasses)
        portrait_dataset.end(model, who, wanted)
    np.testing.assert_allclose(given[0], [0.6] * (len(names) - 1) + [1])
    np.testing.assert_allclose(given[1], wanted)
    assert (wanted == 1).all(), "the caller's own array"


@pytest.mark.parametrize(("frame", "wears"), [(255, False), (30, True)])
def test_a_dark_bar_over_the_nose_is_glasses(frame: int, wears: bool) -> None:
    picture = np.full((256, 256, 3), 180, np.uint8)
    picture[100:104, 60:196] = np.minimum(picture[100:104, 60:196], frame)
    landmarks = np.full((478, 2), 0.5, np.float32)
    landmarks[9, 1], landmarks[5, 1] = 0.3, 0.6
    fit = SimpleNamespace(landmarks=landmarks, M=np.array([[256, 0, 0], [0, 256, 0]], np.float32))
    assert portrait.wears_glasses(picture, fit) == wears


def test_frames_are_paired_whose_head_is_still_and_whose_face_moves() -> None:
    turns = [rotation_matrix(np.array([0, np.radians(degrees), 0])) for degrees in (0, 3.8, 8.2, 0)]
    shapes = np.zeros((4, 52), np.float32)
    shapes[1:3] = 0.02  # the mean change; frame 3 is frame 0 again
    clip = video_dataset.Clip(np.zeros(0), np.zeros(0), shapes, np.array(turns))
    assert {tuple(pair) for pair in clip.couples.tolist()} == {(0, 1), (1, 0), (1, 3), (3, 1)}


def test_a_fit_is_not_pulled_by_landmarks_that_are_wrong(model: portrait_dataset.Model, fitted: Fit) -> None:
    """A dozen landmarks of the cheeks by a tenth of the crop: the others stay where they were."""
    kit, rng = model.kit, np.random.default_rng(0)
    vertices = kit.landmark_vertices[:SKIN]
    shape = kit.shape(fitted.identity, fitted.expression)[vertices]
    drawn = fitted.landmarks.copy()
    drawn[:SKIN] = fitted.pose.project(fitted.pose.place(shape))[:, :2]
    wrong = rng.choice(np.setdiff1d(np.arange(SKIN), fitting.EYES + fitting.LIPS), 12, replace=False)

    def off(landmarks: np.ndarray) -> np.ndarray:
        again = fitting.fit(kit, Face(landmarks * 500, fitted.expression @ kit.to_blendshapes, 1.0))
        points = again.pose.project(again.pose.place(kit.shape(again.identity, again.expression)[vertices]))[:, :2]
        return np.linalg.norm(points @ again.M[:, :2].T + again.M[:, 2] - 500 * drawn[:SKIN], axis=1) / 500

    pulled = drawn.copy()
    pulled[wrong] += (0.1, 0)
    right = np.setdiff1d(np.arange(SKIN), wrong)
    clean, robust = np.sqrt(np.square(off(drawn)[right]).mean()), np.sqrt(np.square(off(pulled)[right]).mean())
    assert robust < clean + 0.0001
