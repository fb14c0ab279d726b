"""Where the tests' data lies, and pictures that several tests use.

A clone alone tests what matters: portraits and a clip are then made of the repo's own renders. FETFAST_DATA names the
shared data folder, which adds real faces; FETFAST_DATA=none leaves it out. With FETFAST_STRICT=1 a test that is skipped
for a reason that EXPECTED does not list fails the run.
"""

import os
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import clips
import numpy as np
import pytest
from PIL import Image

from fetfast import Engine, image
from fetfast.plan import Plan
from fetfast.video import Writer

ROOT = Path(__file__).parents[1]


SHARED = Path(os.environ.get("FETFAST_DATA") or ROOT.parent / "shared" / "data")
EXPECTED = (  # reasons for which a test may be skipped: what no machine of ours has, or a stranger lacks
    "no CUDA device", "needs a CUDA device", "no GPU", "a GPU is here", "no hardware decoder",
    *(() if SHARED.is_dir() else ("no shared data",)),
)  # fmt: skip
skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        skipped.append(f"{report.nodeid}: {report.longrepr[2].removeprefix('Skipped: ')}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        skipped.append(f"{report.nodeid}: {report.longrepr[2].removeprefix('Skipped: ')}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    surprises = [line for line in skipped if not any(reason in line for reason in EXPECTED)]
    if surprises and os.environ.get("FETFAST_STRICT"):
        print("\nskipped, and nobody expected it:", *surprises, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder. Skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no shared data: set FETFAST_DATA, or put shared/data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with portraits/001.jpg, 005.jpg, 006.jpg, 009.jpg (768 a side, one person each), clips/single_face.mp4
    (72 frames, a face at rest that begins to smile) and clips/no_face.mp4: the shared data, or the repo's renders."""
    if SHARED.is_dir():
        return SHARED
    folder = tmp_path_factory.mktemp("data")
    (folder / "portraits").mkdir()
    (folder / "clips").mkdir()
    for name, render in (("001", "calm"), ("005", "surprise"), ("006", "wink"), ("009", "smile")):
        with Image.open(ROOT / "demo" / f"{render}.png") as opened:
            smaller = np.asarray(opened.convert("RGB").resize((600, 600)))
        Image.fromarray(np.pad(smaller, ((84, 84), (84, 84), (0, 0)), "edge")).save(
            folder / "portraits" / f"{name}.jpg", quality=95
        )
    engine, calm = Engine("flow_fp32"), image.load(ROOT / "demo" / "calm.png")
    driver = engine.landmarker.detect(image.load(ROOT / "demo" / "smile.png"))[0]
    target = engine.prepare(calm)
    smiles = [engine.render(driver, target, intensity=amount) for amount in np.linspace(0, 1.2, 30)]
    tone = clips.raw(folder / "tone.mp4", frames=72, sound="aac")
    for name, frames in (("single_face", [calm] * 36 + smiles + smiles[-1:] * 6), ("no_face", [calm * 0 + 90] * 20)):
        with Writer(folder / "clips" / f"{name}.mp4", Fraction(25), sound=tone) as writer:
            for i, frame in enumerate(frames):  # the camera is held by hand
                writer.write(Fraction(i, 25), np.roll(frame, (i % 3, i // 2 % 3), (0, 1)))
    os.environ["FETFAST_DATA"] = str(folder)  # where commands look for what is not given
    return folder


@pytest.fixture(scope="session")
def portrait(data: Path) -> np.ndarray:
    """A face at rest, u8 [768, 768, 3]."""
    return image.load(data / "portraits" / "001.jpg")


@pytest.fixture(scope="session")
def smile() -> np.ndarray:
    """A render of the morphable model that smiles, u8 [512, 512, 3]."""
    return image.load(ROOT / "demo" / "smile.png")


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    """make_plan(family, size, precision): its networks with noise in every weight, also in those that start at 0."""
    torch = pytest.importorskip("torch")
    from fetfast.build import plan_of
    from fetfast.models import family

    @cache
    def make(name: str, size: str, precision: str) -> Plan:
        spec = family(name).SPECS[size]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            modules = family(name).build(spec)
            for module in modules.values():
                for tensor in module.state_dict().values():
                    tensor.add_(0.02 * torch.randn(tensor.shape))
        return plan_of(spec, modules, precision)

    return make
