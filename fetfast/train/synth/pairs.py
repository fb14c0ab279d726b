"""Training pairs: a portrait under two expressions, made from portraits by the fitted morphable model.

    fetfast synth --facekit ict_facekit_f16.npz --portraits FOLDER -o PAIRS

A pair is the target (B, e1), the truth (B, e2), and e2 as numbers; half of the pairs have the photo itself at one end,
four in ten show a look-alike of the person at both.
The same seed gives the same bytes, with any number of workers: pair n belongs to portrait n modulo their number, and
its chance comes from (seed, n).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fetfast import image
from fetfast.errors import BadInput, NoFace
from fetfast.train.facekit import Facekit
from fetfast.train.synth.expression import mirror_blendshapes, mirror_points, random_expression
from fetfast.train.synth.fit import IDENTITIES, Fit, fit_file
from fetfast.train.synth.mask import Mask
from fetfast.train.synth.portrait import Portrait, prepare
from fetfast.train.synth.repose import repose

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
NEAR_GLASSES = ("browDown", "browInnerUp", "browOuterUp", "cheekSquint", "eyeWide", "noseSneer")
SHAPE = 0.5  # standard deviation of identity coefficients between look-alikes
TURN = np.array([0.10, 0.06])  # of yaw and pitch, radians
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Model:
    """The morphable model and all that is derived from it once per process."""

    kit: Facekit
    mask: Mask
    points: np.ndarray
    blendshapes: np.ndarray


@cache
def open_model(facekit: Path) -> Model:
    """The model, read once per process."""
    kit = Facekit.open(facekit)
    return Model(kit, Mask.of(kit), mirror_points(kit), mirror_blendshapes())


def held_out(path: Path) -> bool:
    """Is this portrait kept for measuring and never trained on? One in five, by the SHA-256 of the file's name."""
    return int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 5 == 0


def pair(model: Model, portrait: Portrait, donors: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One pair of this person. See `train/data.py` for the arrays; `donors` f32 [D, 53] are other people's expressions.

    The blendshapes are exact where the picture is made, and the landmarker's where it is the photo.
    """
    real, ends = rng.random(), []
    if real >= 0.6:
        portrait = varied(model.mask, portrait, rng)
    fit = portrait.fit
    for is_photo in (real < 0.25, 0.25 <= real < 0.5):
        if is_photo:
            ends.append((portrait.real, fit.landmarks, fit.blendshapes))
            continue
        expression = random_expression(model.kit, donors, rng)
        if portrait.glasses:  # what moves the skin below the frame would bend it
            near = model.kit.index(*NEAR_GLASSES)
            expression[near] = fit.expression[near] + 0.2 * (expression - fit.expression)[near]
        made = repose(model.kit, model.mask, portrait, expression)
        ends.append((made.image, made.points, expression @ model.kit.to_blendshapes))
    if rng.random() < 0.5:
        ends = [
            (picture[:, ::-1], points[model.points] * (-1, 1) + (1, 0), shapes[model.blendshapes])
            for picture, points, shapes in ends
        ]
    (target, target_points, target_shapes), (truth, driven_points, source_shapes) = ends
    return {
        "target": target, "truth": truth,
        "target_points": target_points.astype(np.float32), "driven_points": driven_points.astype(np.float32),
        "target_blendshapes": target_shapes, "source_blendshapes": source_shapes,
    }  # fmt: skip


def varied(mask: Mask, portrait: Portrait, rng: np.random.Generator) -> Portrait:
    """Somebody who resembles this person, the head turned a little: both ends of a pair that shows no photo."""
    shape = np.tensordot(rng.normal(0, SHAPE, IDENTITIES).astype(np.float32), mask.identities, 1)
    yaw, pitch = np.clip(rng.normal(0, TURN), -2 * TURN, 2 * TURN)
    turned = portrait.fit.pose.turned(yaw, pitch)
    # About the head's own middle, which stays where it is.
    middle = portrait.base[mask.landmarks].mean(0)
    moved = (portrait.fit.pose.place(middle[None]) - turned.place(middle[None]))[0]
    fit = replace(portrait.fit, rotation=turned.rotation, translation=turned.translation + moved)
    return replace(portrait, fit=fit, base=portrait.base + shape - shape[mask.landmarks].mean(0))


def generate(
    facekit: Path,
    portraits: Path,
    folder: Path,
    count: int,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write `count` pairs with pictures of size x size to `folder`, as `train/data.py` reads them.

    facekit: ICT-FaceKit's folder or the packed npz. portraits: a folder of pictures, one person each; those without a
    face are left out. workers: processes; None: one for each core. Returns how many pairs, portraits and seconds, and
    `rate`: pairs a second of one core's time, fitting left out.
    Raises BadInput where the folder holds no usable portrait, and MissingAsset.
    """
    from fetfast.train import data

    files = sorted(p for p in portraits.glob("*") if p.suffix.lower() in PICTURES)
    workers = workers or os.cpu_count() or 1
    with pool(workers) as run:
        fits = list(tqdm(run.map(partial(try_fit, facekit), files), total=len(files), desc="fit", disable=None))
        found = [(file, fit) for file, fit in zip(files, fits, strict=True) if fit is not None]
        if not found:
            raise BadInput(f"generate(): no picture with a face in {portraits}; give a folder of portraits")
        about = {
            "seed": seed, "facekit": facekit.name, "portraits": [file.name for file, _ in found],
            "held_out": [n for n, (file, _) in enumerate(found) if held_out(file)],
        }  # fmt: skip
        data.create(folder, count, size, about)
        fill = partial(fill_rows, facekit, folder, found, size, seed)
        people = range(len(found))
        start = time.perf_counter()
        spent = sum(tqdm(run.map(fill, people), total=len(people), desc="pairs", disable=None))
        seconds = time.perf_counter() - start
    return {"pairs": count, "portraits": len(found), "seconds": seconds, "rate": count / max(spent, 1e-9)}


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes with one thread each: more would only fight over the cores."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context) as run:
            yield run
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def try_fit(facekit: Path, file: Path) -> Fit | None:
    try:
        return fit_file(open_model(facekit).kit, file)
    except NoFace:
        return None


def fill_rows(facekit: Path, folder: Path, found: list[tuple[Path, Fit]], size: int, seed: int, person: int) -> float:
    """Make all pairs of one person; returns the seconds of processor time that they took."""
    model = open_model(facekit)
    file, fit = found[person]
    # Expressions of people held out are shown only on people held out.
    donors = np.stack([other.expression for path, other in found if held_out(file) or not held_out(path)])
    arrays = {p.stem: np.load(p, mmap_mode="r+", allow_pickle=False) for p in folder.glob("*.npy")}
    portrait = prepare(model.kit, model.mask, image.load(file), fit, size)
    start = time.process_time()
    for row in range(person, len(arrays["person"]), len(found)):
        for name, value in pair(model, portrait, donors, np.random.default_rng([seed, row])).items():
            arrays[name][row] = value
        arrays["person"][row] = person
    return time.process_time() - start
