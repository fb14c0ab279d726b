"""Pairs from a user's videos."""

import numpy as np
import pytest
from clips import raw, turn

pytest.importorskip("numba")
av = pytest.importorskip("av")
torch = pytest.importorskip("torch")

from fetfast.errors import BadInput  # noqa: E402
from fetfast.face import Landmarker  # noqa: E402
from fetfast.synth import video_dataset  # noqa: E402
from fetfast.synth.labels import classify  # noqa: E402
from fetfast.train.data import Pairs  # noqa: E402


@pytest.fixture(scope="module")
def pairs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    assert video_dataset.generate(data / "clips", folder, count=24, size=96, every=9) == {"pairs": 24, "videos": 1}
    return Pairs.open(folder)


def test_the_clip_without_a_face_gives_no_pairs(pairs):
    assert pairs.about["videos"] == ["single_face.mp4"]


def test_a_pair_shows_two_expressions_in_one_pose(pairs):
    arrays = pairs.arrays
    moved = np.abs(arrays["target_blendshapes"] - arrays["source_blendshapes"]).mean(1)
    assert (moved > video_dataset.MOVED).all()
    rigid = np.linalg.norm(arrays["target_points"] - arrays["driven_points"], axis=2)[:, [33, 133, 168, 362, 263]]
    assert rigid.mean() < 0.01
    assert (arrays["target"] != arrays["truth"]).any(axis=(1, 2, 3)).all()


def test_labels_are_of_what_the_landmarker_reads(pairs):
    arrays = pairs.arrays
    assert arrays["label"].tolist() == [classify(shapes) for shapes in arrays["source_blendshapes"]]
    assert "happiness" in {pairs.about["labels"][label] for label in arrays["label"]}  # the man smiles
    assert "source" not in arrays and "mask" not in arrays


def test_a_phones_clip_gives_the_same_pairs(tmp_path, smile):
    """On its side with a tag that turns it, and in full range: the same face in the same colours."""
    landmarker = Landmarker(threads=1)

    def read(quarters, range_):
        stored = np.rot90(smile, -quarters)
        path = raw(tmp_path / "v.mp4", "libx264", 1, picture=stored, color_range=range_, options={"crf": "5"})
        return video_dataset.read(turn(path, quarters) if quarters else path, landmarker, 96, 1)

    plain, turned, full = read(0, 1), read(1, 1), read(0, 2)
    for clip in (turned, full):
        np.testing.assert_allclose(clip.points, plain.points, atol=0.01)
        assert np.abs(clip.images.astype(int) - plain.images).mean() < 2


def test_only_frames_of_nearly_the_same_pose_are_coupled():
    def turned(angle):
        c, s = np.cos(angle), np.sin(angle)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    rotations = np.stack([turned(np.radians(a)) for a in (0, 3, 9)])
    shapes = np.eye(3, 52)
    clip = video_dataset.Clip(np.zeros((3, 8, 8, 3)), np.zeros((3, 478, 2)), shapes, rotations)
    assert clip.couples.tolist() == [[0, 1], [1, 0]]
    same = video_dataset.Clip(clip.images, clip.points, np.zeros((3, 52)), rotations)
    assert len(same.couples) == 0


def test_no_usable_video(tmp_path):
    with pytest.raises(BadInput, match="no video"):
        video_dataset.generate(tmp_path, tmp_path / "out", 1)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(BadInput, match=r"broken\.mp4 cannot be opened"):
        video_dataset.generate(tmp_path, tmp_path / "out", 1)
