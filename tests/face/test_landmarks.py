"""A face through a clip, and what a `Face` keeps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fetfast.face import Face, Landmarker
from fetfast.face.detect import thinned
from fetfast.face.landmarks import BLENDSHAPE_POINTS
from fetfast.ops.crop import crop
from fetfast.spec import BLENDSHAPES, LANDMARKS


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker(threads=2)


def frames(clip: Path, every: int) -> Iterator[np.ndarray]:
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    with av.open(str(clip)) as file:
        for i, frame in enumerate(file.decode(video=0)):
            if i % every == 0:
                yield frame.to_ndarray(format="rgb24")


def test_tracking_reads_what_detecting_anew_reads(landmarker: Landmarker, data: Path) -> None:
    tracked, smiles = None, []
    for frame in frames(data / "clips" / "single_face.mp4", every=4):
        (found,) = landmarker.detect(frame)
        tracked = landmarker.track(frame, tracked or found)
        assert tracked is not None
        unit = np.linalg.norm(np.subtract(*found.landmarks[[468, 473], :2]))
        # Read by the detector's box alone it would be 0.018 at worst.
        assert np.linalg.norm((tracked.landmarks - found.landmarks)[:, :2], axis=1).mean() < 0.012 * unit
        smiles.append(tracked.blendshapes[BLENDSHAPES.index("mouthSmileLeft")])
    assert max(smiles) - smiles[0] > 0.3, "he is neutral first, and smiles later"


def test_a_face_outlives_the_next_call(landmarker: Landmarker, portrait: np.ndarray) -> None:
    (face,) = landmarker.detect(portrait)
    kept = face.landmarks.copy(), face.blendshapes.copy()
    (other,) = landmarker.detect(portrait[:, ::-1])
    assert not np.array_equal(other.landmarks, face.landmarks)
    np.testing.assert_array_equal(face.landmarks, kept[0])
    np.testing.assert_array_equal(face.blendshapes, kept[1])


def test_what_is_tracked_out_of_the_frame_is_lost(landmarker: Landmarker, portrait: np.ndarray) -> None:
    (face,) = landmarker.detect(portrait)
    assert landmarker.track(portrait, Face(face.landmarks + np.float32(2000), face.blendshapes, face.score)) is None


def test_the_larger_face_does_not_hide_the_smaller(
    landmarker: Landmarker, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.full((768, 1366, 3), 120, np.uint8)
    frame[:, :768] = portrait
    frame[500:692, 1000:1192] = portrait[::4, ::4]  # a face of 75 pixels: a ninth of the whole frame's shorter side
    large, small = landmarker.detect(frame)
    assert large.box[2] < 768 and 1000 < small.box[0] and small.box[2] < 1192
    monkeypatch.setattr(landmarker, "track", lambda *_: large)
    assert landmarker.detect(frame) == [large], "a reading that settles on a face that is known is no face more"


@pytest.mark.parametrize("shape", [(3, 9000), (9000, 2), (1, 1), (40, 30)])
def test_odd_frames_hold_nobody(landmarker: Landmarker, shape: tuple[int, int]) -> None:
    assert landmarker.detect(np.random.default_rng(0).integers(90, 130, (*shape, 3), dtype=np.uint8)) == []


@pytest.mark.parametrize("side", [100, 300.5, 700, 1900])
def test_a_thinned_frame_shows_the_same_places(side: float) -> None:
    y, x = np.mgrid[:2500, :2500]
    frame = np.stack([x // 10, y // 10, 0 * x], axis=-1).astype(np.uint8)
    M = np.array([[side, 0.2 * side, 90], [-0.2 * side, side, 400]], np.float32)
    whole, thin = crop(frame, M, 128), crop(*thinned(frame, M, 128), 128)
    off = (thin - whole)[:2].mean(axis=(1, 2)) * 127.5 * 10  # pixels: a grey level is 10 of them
    assert np.abs(off).max() < 0.5


def test_the_blendshape_networks_points() -> None:
    assert BLENDSHAPE_POINTS.shape == (146,)
    assert (np.diff(BLENDSHAPE_POINTS) > 0).all() and BLENDSHAPE_POINTS[-1] == LANDMARKS - 1
