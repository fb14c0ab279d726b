"""Small files rebuilt from what users of similar programs met; the right result stands in their README."""

import numpy as np
import pytest
from click.testing import CliRunner

from fetfast.cli import main
from fetfast.face import Landmarker
from fetfast.spec import BLENDSHAPES
from fetfast.video import Reader

SMILE = BLENDSHAPES.index("mouthSmileLeft")


@pytest.fixture(scope="module")
def cases(shared):
    return shared / "cases"


def run(*arguments):
    return CliRunner().invoke(main, ["transfer", *(str(a) for a in arguments), "--plan", "flow_fp32"])


def smiles(path, every):
    """The smile of each face from left to right, in every n-th frame."""
    landmarker = Landmarker(threads=1)
    with Reader(path) as reader:
        frames = [frame for _, frame in reader][::every]
    return [[float(f.blendshapes[SMILE]) for f in sorted(landmarker.detect(frame), key=lambda f: f.box[0])]
            for frame in frames]  # fmt: skip


def test_first_smile(cases, shared, tmp_path):
    """The smile comes over: rest is where the file is calmest, not its first second."""
    out = tmp_path / "out.mp4"
    done = run(cases / "first_smile.mp4", shared / "portraits" / "001.jpg", "-o", out, "--mode", "relative")
    assert done.exit_code == 0, done.output
    seen = np.array(smiles(out, 5))[:, 0]
    assert seen[:6].min() > seen[-5:].max() + 0.3


def test_no_face(cases, shared, tmp_path):
    out = tmp_path / "out.mp4"
    for pair in (
        (cases / "no_face.mp4", shared / "portraits" / "001.jpg"),
        (cases / "smile.mp4", cases / "no_face.mp4"),
    ):
        done = run(*pair, "-o", out)
        assert done.exit_code == 1 and "no_face.mp4, in none of 50 frames" in done.output and not out.exists()


@pytest.mark.parametrize("chosen", [0, 1])
def test_crossing(cases, shared, tmp_path, chosen):
    """A calm driver calms him who smiles, a smiling one has her smile: wherever they go."""
    calm, smiling = shared / "portraits" / "001.jpg", cases / "smile_088.jpg"
    driver, out = (smiling, calm)[chosen], tmp_path / "out.mp4"
    done = run(driver, cases / "crossing.mp4", "-o", out, "--face", chosen)
    assert done.exit_code == 0, done.output
    seen = smiles(out, 6)
    first, last = seen[0], seen[-1]
    print(chosen, first, last)
    assert len(first) == len(last) == 2 and first == pytest.approx(last[::-1], abs=0.15)
    assert (first[0] > 0.5 and first[1] > 0.5) if chosen == 0 else max(first) < 0.4
