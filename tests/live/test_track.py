"""Faces keep their numbers while they move, cross the frame's border, hide and come back."""

import numpy as np
import pytest
from PIL import Image

from fetfast.errors import BadInput
from fetfast.face import Landmarker
from fetfast.live import track
from fetfast.live.track import ALIKE, SAME, Tracker, appearance


@pytest.fixture(scope="module")
def landmarker():
    return Landmarker(threads=1)


@pytest.fixture(scope="module")
def faces(astronaut, portrait_file):
    """Two people, 200 x 200."""
    return [
        np.asarray(picture.resize((200, 200)))
        for picture in (Image.fromarray(astronaut[30:270, 60:300]), Image.open(portrait_file))
    ]


def scene(*placed, size=(360, 640)):
    frame = np.full((*size, 3), 110, np.uint8)
    for picture, x in placed:
        frame[80 : 80 + picture.shape[0], x : x + picture.shape[1]] = picture
    return frame


def middles(seen):
    return {number: round((face.box[0] + face.box[2]) / 2) for number, face in seen.items()}


def test_two_faces_keep_their_numbers(landmarker, faces):
    tracker = Tracker(landmarker, "all")
    a, b = faces
    for step in range(6):
        seen = middles(tracker(scene((a, 20 + 8 * step), (b, 400 - 8 * step))))
        assert seen[0] == pytest.approx(120 + 8 * step, abs=25) and seen[1] == pytest.approx(500 - 8 * step, abs=25)
    for _ in range(4):
        assert set(tracker(scene((b, 352)))) == {1}
    seen = middles(tracker(scene((a, 68), (b, 352))))
    assert set(seen) == {0, 1} and seen[0] < seen[1]


def test_the_one_followed_stays_the_same(landmarker, faces):
    """The other face is not taken for the one that hides, unless it stays away."""
    a, b = faces
    larger = np.asarray(Image.fromarray(a).resize((240, 240)))
    tracker = Tracker(landmarker)
    assert middles(tracker(scene((larger, 20), (b, 400)))) == {0: pytest.approx(140, abs=25)}
    assert tracker(scene((b, 400))) == {} and tracker(scene((b, 400))) == {}
    assert middles(tracker(scene((larger, 30), (b, 400)))) == {0: pytest.approx(150, abs=25)}
    returned = [tracker(scene((b, 400))) for _ in range(4)]
    assert returned[:2] == [{}, {}] and middles(returned[-1]) == {0: pytest.approx(500, abs=25)}


@pytest.mark.parametrize("side", [60, 200])
def test_a_face_is_found_within_3_frames_of_its_return(landmarker, faces, side):
    """Small ones too (60 pixels with the hair: a face of 30), wherever they come back."""
    small = np.asarray(Image.fromarray(faces[0]).resize((side, side)))
    for away in (7, 8, 9):
        tracker = Tracker(landmarker)
        assert tracker(scene((small, 40)))
        for _ in range(away):
            assert tracker(scene()) == {}
        assert any([tracker(scene((small, 420))) for _ in range(3)])


def test_an_index_counts_from_the_left(landmarker, faces):
    a, b = faces
    assert middles(Tracker(landmarker, 1)(scene((a, 20), (b, 400)))) == {0: pytest.approx(500, abs=25)}
    with pytest.raises(BadInput, match="index"):
        Tracker(landmarker, 2)(scene((a, 20), (b, 400)))


def crossing(front, behind, steps=24):
    """They change places, `front` from right to left, before `behind`: for some frames only one is seen."""
    for step in [0] * 3 + list(range(steps + 1)) + [steps] * 6:
        x = 20 + round(400 * step / steps)
        yield scene((behind, x), (front, 440 - x))


@pytest.mark.parametrize("swapped", [False, True])
def test_people_who_cross_keep_their_numbers(landmarker, faces, swapped):
    """By how they look: where each of them was the other one is now."""
    front, behind = faces[::-1] if swapped else faces
    trackers = {which: Tracker(landmarker, which) for which in (0, 1, "all")}
    seen = {which: [] for which in trackers}
    for frame in crossing(front, behind):
        for which, tracker in trackers.items():
            seen[which].append(middles(tracker(frame)))
    left, right = pytest.approx(120, abs=25), pytest.approx(520, abs=25)
    assert seen[0][0] == {0: left} and seen[0][-1] == {0: right}
    assert {} in seen[0], "while the other one is before him nobody is taken for him"
    assert seen[1][0] == {0: right} and seen[1][-1] == {0: left}
    assert seen["all"][0] == {0: left, 1: right} and seen["all"][-1] == {0: right, 1: left}


def test_a_named_person_who_leaves_is_not_replaced(landmarker, faces):
    """Nor by one who was not there at first; the largest is, after a moment."""
    a, b = faces
    named, largest = Tracker(landmarker, 0), Tracker(landmarker)
    frames = [scene((a, 20))] * 2 + [scene((b, 60))] * 6 + [scene((a, 300), (b, 60))] * 3
    places = [(middles(named(frame)), middles(largest(frame))) for frame in frames]
    assert [numbers for numbers, _ in places[2:8]] == [{}] * 6
    assert places[-1][0] == {0: pytest.approx(400, abs=25)}
    assert places[7][1] == {0: pytest.approx(160, abs=25)}


def test_a_lost_face_is_forgotten(landmarker, faces, monkeypatch):
    """Where all are wanted: before FORGET frames it keeps its number, then it is somebody new, and nothing piles up."""
    monkeypatch.setattr(track, "FORGET", 6)
    a, b = faces
    for away, number in ((5, 1), (8, 2)):
        tracker = Tracker(landmarker, "all")
        tracker(scene((a, 20), (b, 400)))
        for _ in range(away):
            assert set(tracker(scene((a, 20)))) == {0}
        for _ in range(track.EVERY):  # how often new ones are looked for
            seen = tracker(scene((a, 20), (b, 400)))
        assert set(seen) == {0, number}
        assert len(tracker._people) == 2


def test_appearance_is_who_and_not_how_bright(landmarker, faces):
    def looks(picture):
        frame = scene((picture, 100))
        return appearance(frame, landmarker.detect(frame)[0])

    (a, b), dark = faces, [(picture * 0.6 + 10).astype(np.uint8) for picture in faces]
    for picture, same, other in ((a, dark[0], b), (b, dark[1], a)):
        own = looks(picture)
        assert np.linalg.norm(own) == pytest.approx(1, abs=1e-5)
        assert 1 - own @ looks(same) < SAME / 2 and 1 - own @ looks(other) > ALIKE
