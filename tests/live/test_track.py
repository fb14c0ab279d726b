"""Faces keep their numbers while they move, cross the frame's border, hide and come back."""

import numpy as np
import pytest
from PIL import Image

from fetfast.errors import BadInput
from fetfast.face import Landmarker
from fetfast.live.track import Tracker


@pytest.fixture(scope="module")
def landmarker():
    return Landmarker(threads=1)


@pytest.fixture(scope="module")
def faces(data):
    """Two people, 200 x 200."""
    return [np.asarray(Image.open(data / f"portraits/{n}.jpg").resize((200, 200))) for n in ("001", "005")]


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
