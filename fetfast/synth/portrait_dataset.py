"""Makes training pairs from portraits: each person under two expressions, by the fitted morphable model.

    fetfast synth --facekit ict_facekit_f16.npz --portraits FOLDER -o PAIRS

A pair is the target (B, e1), the truth (B, e2), and e2 as numbers and on another person's face (A, e2): that is the
truth of another row, since the rows of a group share e2. Half of the pairs have the photo itself at one end, four in
ten show a look-alike of the person at both; who is trained on has look-alikes with a share of other people's skin,
too. The same seed gives the same bytes, with any number of workers: pair n belongs to portrait n modulo their number,
its chance comes from (seed, n), what it shares from (seed, the lowest n in its group, 1), and with whom a portrait is
mixed from (seed, the portrait, 4).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fetfast import image
from fetfast.errors import BadInput, NoFace
from fetfast.synth.expression import mirror_blendshapes, mirror_points, random_expression
from fetfast.synth.expression_groups import expression_groups, group_of
from fetfast.synth.face_submesh import TEETH, FaceSubmesh
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import IDENTITIES, Fit, fit_file
from fetfast.synth.labels import LABELS, classify
from fetfast.synth.occlude import OCCLUDED, occlude
from fetfast.synth.portrait import Portrait, mixed, prepare
from fetfast.synth.reexpress import Rasterised, as_photographed, motion, reexpress
from fetfast.synth.regions import REGIONS
from fetfast.synth.workers import fill, pool

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
NEAR_GLASSES = ("browDown", "browInnerUp", "browOuterUp", "cheekSquint", "eyeWide", "noseSneer")
UNDER_GLASSES = 0.2  # of a movement of these is left behind glasses
PHOTO = 0.25  # of the truths are photos, and of the targets
SAME_PERSON = 0.1  # of the pairs: two made pictures of the very person
MIXED = 0.7  # of the look-alikes: somebody between two people
ALIKE, SHARES = 560, (0.3, 0.9)  # how many of them in all; how much they have of the other's skin
SHAPE = 0.5  # standard deviation of identity coefficients between look-alikes
SHADES = (0.85, 1.3)  # of teeth, times what the eyes' whites let expect: on 15 portraits that show theirs .6 ... 1.4
TURN = np.array([0.14, 0.08])  # of yaw and pitch, radians: standard deviation
FARTHEST = np.array([0.25, 0.15])  # beyond, cheeks and hair that the photo hides smear


@dataclass(frozen=True)
class Model:
    """The morphable model and all that is derived from it once per process."""

    kit: Facekit
    submesh: FaceSubmesh
    points: np.ndarray
    blendshapes: np.ndarray


@cache
def open_model(facekit: Path) -> Model:
    """The model, read once per process."""
    kit = Facekit.open(facekit)
    return Model(kit, FaceSubmesh.of(kit), mirror_points(kit), mirror_blendshapes())


def held_out(path: Path) -> bool:
    """Is this portrait kept for measuring and never trained on? One in five, by the SHA-256 of the file's name."""
    return int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 5 == 0


@dataclass(frozen=True)
class Group:
    """What the rows of a group share: e2 f32 [53], whether all are mirrored, and the row whose truth is the photo
    itself under its own expression (-1: none)."""

    expression: np.ndarray
    mirrored: bool
    photo: int


def draw_group(kit: Facekit, fits: list[Fit], donors: np.ndarray, rows: list[int], seed: int) -> Group:
    """Draws what these rows share, seeded by the first, so that each of them comes to the same. `fits` are
    the people's, by row modulo their number."""
    rng = np.random.default_rng([seed, rows[0], 1])
    mirrored, photo = bool(rng.random() < 0.5), -1
    expression = random_expression(kit, donors, rng)
    if rng.random() < PHOTO * len(rows):
        photo = rows[rng.integers(len(rows))]
        expression = fits[photo % len(fits)].expression
    return Group(expression, mirrored, photo)


def pair(
    model: Model,
    portrait: Portrait,
    donors: np.ndarray,
    wanted: np.ndarray | None,
    rng: np.random.Generator,
    alike: Sequence[Portrait] = (),
) -> dict[str, np.ndarray]:
    """One pair of this person. See `train/data.py` for the arrays; `donors` f32 [D, 53] are other people's expressions,
    `wanted` f32 [53] is e2; None: that of the photo, which is the truth then. `alike`: people between this one and
    others, one of whom often stands in where neither end is the photo.

    The blendshapes are exact where the picture is made, and the landmarker's where it is the photo.
    """
    chance = rng.random() * (1 - PHOTO)
    is_photo = wanted is not None and chance < PHOTO
    if wanted is not None and chance >= PHOTO + SAME_PERSON:
        if alike and rng.random() < MIXED:
            portrait = alike[int(rng.integers(len(alike)))]
        portrait = varied(model.submesh, portrait, rng)
    portrait = shaded(model.submesh, portrait, rng.uniform(*SHADES))
    first = None if is_photo else random_expression(model.kit, donors, rng)
    target = end(model, portrait, first)
    truth = end(model, portrait, wanted, target.points)
    flow, light = motion(model.submesh, target.raster, truth.raster)
    made = {
        "target": target.image, "truth": truth.image, "mask": truth.regions, "flow": flow, "light": light,
        "target_points": target.points, "driven_points": truth.points,
        "target_blendshapes": target.blendshapes, "source_blendshapes": truth.blendshapes,
        "label": np.array(classify(truth.blendshapes)),
    }  # fmt: skip
    if rng.random() < OCCLUDED:
        occlude(made, rng)
    return made


@dataclass(frozen=True)
class End:
    """One of the two pictures of a pair: image u8 [S, S, 3], points f32 [478, 2] crop units, blendshapes f32 [52],
    regions u8 [S, S], and where the mesh stands on it."""

    image: np.ndarray
    points: np.ndarray
    blendshapes: np.ndarray
    regions: np.ndarray
    raster: Rasterised


def end(model: Model, portrait: Portrait, wanted: np.ndarray | None, target_points: np.ndarray | None = None) -> End:
    """Draws a portrait under an expression, or (None) takes the photo; as a target, or as the truth for a target that
    has these landmarks."""
    fit = portrait.fit
    if wanted is None:
        photo = as_photographed(model.submesh, portrait)
        return End(portrait.real, fit.landmarks, fit.blendshapes, portrait.regions, photo)
    if portrait.glasses:  # what moves the skin below the frame would bend it
        near, wanted = model.kit.index(*NEAR_GLASSES), wanted.copy()
        wanted[near] = fit.expression[near] + UNDER_GLASSES * (wanted - fit.expression)[near]
    made = reexpress(model.kit, model.submesh, portrait, wanted, target_points)
    return End(made.image, made.points, wanted @ model.kit.to_blendshapes, made.regions, made.raster)


def mirrored(model: Model, pair: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Exchanges left and right of a pair."""
    out = {}
    for name, value in pair.items():
        if name.endswith("points"):
            out[name] = value[model.points] * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)
        elif name.endswith("blendshapes"):
            out[name] = value[model.blendshapes]
        elif name == "flow":
            out[name] = value[:, ::-1] * np.array([-1, 1], np.float16)
        else:
            out[name] = value[:, ::-1] if value.ndim > 1 else value
    return out


def shaded(submesh: FaceSubmesh, portrait: Portrait, shade: float) -> Portrait:
    """Multiplies the colour of the teeth by `shade`, unless the photo shows them."""
    teeth = submesh.kind == TEETH
    if portrait.trust[teeth].any():
        return portrait
    paint = portrait.paint.copy()
    paint[teeth] = np.minimum(paint[teeth] * shade, 250)
    return replace(portrait, paint=paint)


def varied(submesh: FaceSubmesh, portrait: Portrait, rng: np.random.Generator) -> Portrait:
    """Returns a look-alike: another identity nearby, the head turned a little; for both ends of a pair."""
    shape = np.tensordot(rng.normal(0, SHAPE, IDENTITIES).astype(np.float32), submesh.identities, 1)
    # Glasses stand before the mesh that turns them: half as far.
    yaw, pitch = np.clip(rng.normal(0, TURN), -FARTHEST, FARTHEST) * (0.5 if portrait.glasses else 1)
    turned = portrait.fit.pose.turned(yaw, pitch)
    # About the head's own middle, which stays where it is.
    middle = portrait.base[submesh.landmarks].mean(0)
    moved = (portrait.fit.pose.place(middle[None]) - turned.place(middle[None]))[0]
    fit = replace(portrait.fit, rotation=turned.rotation, translation=turned.translation + moved)
    return replace(portrait, fit=fit, base=portrait.base + shape - shape[submesh.landmarks].mean(0))


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
    with pool(workers) as run:
        fits = list(tqdm(run.map(partial(try_fit, facekit), files), total=len(files), desc="fit", disable=None))
        found = [(file, fit) for file, fit in zip(files, fits, strict=True) if fit is not None]
        if not found:
            raise BadInput(f"generate(): no picture with a face in {portraits}; give a folder of portraits")
        kept = [n for n, (file, _) in enumerate(found) if held_out(file)]
        about = {
            "seed": seed, "facekit": facekit.name, "portraits": [file.name for file, _ in found], "held_out": kept,
            "regions": REGIONS, "labels": LABELS,
        }  # fmt: skip
        arrays = data.create(folder, count, size, about, data.OPTIONAL)
        arrays["source"][:] = expression_groups(count, len(found), kept, seed)
        made = fill(run, partial(fill_rows, facekit, folder, found, size, seed), len(found), count)
    return made | {"portraits": len(found)}


def people_like(
    model: Model, portrait: Portrait, found: list[tuple[Path, Fit]], size: int, seed: list[int]
) -> list[Portrait]:
    """Blends this portrait with others that are trained on, ALIKE in all: few faces are soon learned by heart. Where
    there are many people, none. Glasses do not mix."""
    rng = np.random.default_rng([*seed, 4])
    others = [(file, fit) for file, fit in found if not held_out(file) and fit is not portrait.fit]
    out: list[Portrait] = []
    for n in rng.permutation(len(others))[: ALIKE // len(found)] if not portrait.glasses else ():
        file, fit = others[n]
        other = prepare(model.kit, model.submesh, image.load(file), fit, size)
        if not other.glasses:
            out.append(mixed(model.kit, model.submesh, portrait, other, rng.uniform(*SHARES)))
    return out


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
    portrait = prepare(model.kit, model.submesh, image.load(file), fit, size)
    alike = [] if held_out(file) else people_like(model, portrait, found, size, [seed, person])
    fits = [other for _, other in found]
    start = time.process_time()
    for row in range(person, len(arrays["person"]), len(found)):
        group = draw_group(model.kit, fits, donors, group_of(arrays["source"], row), seed)
        wanted = None if row == group.photo else group.expression
        made = pair(model, portrait, donors, wanted, np.random.default_rng([seed, row]), alike)
        for name, value in (mirrored(model, made) if group.mirrored else made).items():
            arrays[name][row] = value
        arrays["person"][row] = person
    return time.process_time() - start
