"""The morphable model as it is read from its file."""

from pathlib import Path

import numpy as np
import pytest

from fetfast.errors import BadInput, MissingAsset
from fetfast.spec import BLENDSHAPES
from fetfast.synth.facekit import Facekit, read_obj


@pytest.fixture(scope="module")
def kit(shared: Path) -> Facekit:
    return Facekit.open(shared / "ict_facekit_f16.npz")


def test_landmarks_lie_on_the_face_where_they_should(kit: Facekit) -> None:
    vertices = kit.landmark_vertices
    assert (vertices[:468] >= 0).all() and (vertices[468:] == -1).all()
    right, left, nose, chin = kit.neutral[vertices[[33, 263, 1, 152]]]
    assert left[0] > 4 > -4 > right[0]  # cm: +x is the subject's left
    assert nose[2] > max(right[2], left[2], chin[2])
    assert chin[1] < nose[1] < right[1]


def test_only_modes_in_use_are_read_and_the_sum_is_linear(kit: Facekit) -> None:
    expression = np.zeros(53, np.float32)
    expression[kit.index("jawOpen")], expression[kit.index("mouthSmile_L")] = 0.5, 1.0
    full = kit.neutral + np.tensordot(expression, kit.expressions, 1)
    np.testing.assert_allclose(kit.shape(np.zeros(3), expression), full, atol=1e-4)


def test_coefficients_become_the_landmarkers_blendshapes(kit: Facekit) -> None:
    assert kit.to_blendshapes.shape == (53, 52)
    both = np.zeros(53, np.float32)
    both[kit.index("browInnerUp")] = 0.8  # the model's two sides are one blendshape
    both[kit.index("eyeBlink_R")] = 0.6
    named = dict(zip(BLENDSHAPES, both @ kit.to_blendshapes, strict=True))
    assert named["browInnerUp"] == pytest.approx(0.8)
    assert named["eyeBlinkRight"] == pytest.approx(0.6)
    assert named["eyeBlinkLeft"] == 0


def test_what_is_no_model_is_refused(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(MissingAsset, match="no file or folder"):
        Facekit.open(tmp_path / "absent.npz")
    alone = tmp_path / "alone.npz"
    np.savez(alone, neutral=np.zeros((3, 3)))
    with pytest.raises(MissingAsset, match="facemesh_to_ict"):
        Facekit.open(alone)
    (tmp_path / "facemesh_to_ict.npz").write_bytes((shared / "facemesh_to_ict.npz").read_bytes())
    with pytest.raises(BadInput, match="lacks"):
        Facekit.open(alone)


def test_wavefront_files_keep_quads_triangles_and_materials(tmp_path: Path) -> None:
    file = tmp_path / "mesh.obj"
    file.write_text(
        "# four corners\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 2\nvt 0 0\nvt 1 1\n"
        "usemtl skin\nf 1/1 2/1 3/2 4/2\nusemtl lips\nf 1/1/1 2/1/1 4/2/1\n"
    )
    mesh = read_obj(file)
    assert mesh["faces"].tolist() == [[0, 1, 2, 3], [0, 1, 3, -1]]
    assert mesh["faces_uv"].tolist() == [[0, 0, 1, 1], [0, 0, 1, -1]]
    assert [mesh["mat_names"][i] for i in mesh["mat"]] == ["skin", "lips"]
    assert mesh["neutral"][3].tolist() == [0, 1, 2]
