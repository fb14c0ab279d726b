"""True smiles, and faces driven by themselves: people photographed twice, resting and smiling (the London set).

*True smiles*: a person's resting face, driven by the person's own smile, against the photograph of that smile, laid
over the resting one by what a smile leaves in place: the corners of the eyes, the bridge of the nose and the forehead.
The only real truth that there is. *Itself*: a face driven by itself must not change.

The pictures are for evaluation alone: no plan is trained on them, and none of them leaves the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fetfast import image
from fetfast.errors import NoFace
from fetfast.evaluate.data import photos
from fetfast.evaluate.figures import Record
from fetfast.evaluate.points import Look
from fetfast.evaluate.setup import PLAN, Person, Setup
from fetfast.evaluate.similarity import face_box, psnr, ssim
from fetfast.face import to_crop
from fetfast.image import Frame
from fetfast.ops.crop import crop
from fetfast.ops.face_mesh import EYES, LIPS

SIDE = 256
KEEPS = (33, 133, 362, 263, 168, 6, 197, 9, 8, 151, 10, 108, 337)  # landmarks that a smile leaves where they are
MARGIN = 0.01  # crop sides round the lips, or the eyes, of a face driven by itself: their boxes
AROUND = 0.08  # and round the lips of a resting and a smiling face: the mouth, and the skin that a smile folds
SHOWS_TEETH = 0.05  # eye distances between the lips from which teeth are seen
RIGHT_LIGHT = (0.85, 1.2)  # teeth's brightness over skin's, result over truth, that passes


@dataclass(frozen=True)
class Pair:
    """A person resting, and smiling. aligned f32 [2, 3]: the crop of the smile that lies over the resting face's."""

    neutral: Person
    smile: Person
    aligned: np.ndarray


def read(setup: Setup, count: int | None = None) -> list[Pair]:
    """Everybody, or `count` of them, evenly. Raises MissingAsset where the set is absent."""
    files = [file for file in photos(setup.data / "london") if file.stem.endswith("_neutral")]
    if count is not None and count < len(files):
        files = [files[round(i)] for i in np.linspace(0, len(files) - 1, count)]
    found = []
    for file in setup.bar(files, "london"):
        name = file.stem.removesuffix("_neutral")
        try:
            neutral, smile = (
                setup.person(f"london {name}", image.load(file.with_name(f"{name}_{kind}.jpg")))
                for kind in ("neutral", "smile")
            )
        except NoFace:
            continue
        found.append(Pair(neutral, smile, aligned(neutral, smile)))
    return found


def aligned(neutral: Person, smile: Person) -> np.ndarray:
    """The crop of the smile under the similarity that lays KEEPS of one face on the other's (least squares)."""
    a, b = (person.face.landmarks[list(KEEPS), :2].astype(np.float64) for person in (neutral, smile))
    x, y = a - a.mean(0), b - b.mean(0)
    turn = complex((x[:, 0] * y[:, 0] + x[:, 1] * y[:, 1]).sum(), (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum())
    turn /= np.square(x).sum()
    R = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    M = np.vstack([neutral.M, [0, 0, 1]])
    return (np.column_stack([R, b.mean(0) - R @ a.mean(0)]) @ M).astype(np.float32)


def true_smiles(setup: Setup, pairs: list[Pair]) -> Iterator[Record]:
    for pair in setup.bar(pairs, "smiles"):
        target, driver = pair.neutral, pair.smile
        points = [to_crop(p.face.landmarks[:, :2], M) for p, M in ((target, target.M), (driver, pair.aligned))]
        face, mouth = face_box(np.concatenate(points), SIDE), box_of(points, LIPS, AROUND)
        wanted = crop(driver.frame, pair.aligned, SIDE)
        truth = setup.look(driver.frame, pair.aligned)
        shows = truth.mouth[0] > SHOWS_TEETH
        scores: dict[str, np.ndarray] = {}
        for method, transfer in setup.methods.items():
            if method == "driver":  # would be the truth itself
                continue
            result = transfer(target, driver.face, driver.frame)
            got = crop(result, target.M, SIDE)
            scores[method] = np.array(
                [psnr(got, wanted, face), ssim(got, wanted, face), psnr(got, wanted, mouth), ssim(got, wanted, mouth)]
            )
            if shows:
                light = whiteness(setup.look(result, target.M), truth) / max(whiteness(truth, truth), 1e-6)
                yield Record("teeth, brightness over the truth's", method, target.name, light)
                yield Record("teeth, right brightness", method, target.name, RIGHT_LIGHT[0] <= light <= RIGHT_LIGHT[1])
            if method == PLAN:
                plan_result = result
            result = transfer(replace(target, frame=grey(target.frame)), driver.face, driver.frame)
            for name, box in (("face", face), ("mouth", mouth)):
                tint = chroma(crop(result, target.M, SIDE), box)
                yield Record(f"black and white: {name}, chroma, levels", method, target.name, tint)
        for method, found in scores.items():
            over = found - scores["copy"]
            for name, n in (("face, dB", 0), ("face, SSIM", 1), ("mouth, dB", 2), ("mouth, SSIM", 3)):
                yield Record(name, method, target.name, found[n])
            for name, n in (("face, dB over copy", 0), ("mouth, dB over copy", 2)):
                yield Record(name, method, target.name, over[n])
            if shows:
                yield Record("mouth, dB over copy, teeth shown", method, target.name, over[2])
        gain = float(scores[PLAN][2] - scores["copy"][2])
        pictures = {
            "target": (target.frame, target.M), "truth": (driver.frame, pair.aligned), "result": (plan_result, target.M)
        }  # fmt: skip
        setup.album.add("smiles", gain, target.name, f"mouth {gain:+.2f} dB over copy", pictures)


def itself(setup: Setup, pairs: list[Pair]) -> Iterator[Record]:
    """Both pictures of everybody, and the targets of the other protocols, whatever they show."""
    cases = [(kind, person) for pair in pairs for kind, person in (("resting", pair.neutral), ("smiling", pair.smile))]
    cases += [("any", person) for person in setup.people]
    for kind, person in setup.bar(cases, "itself"):
        points = to_crop(person.face.landmarks[:, :2], person.M)
        boxes = {"face": face_box(points, SIDE), "eyes": box_of([points], EYES), "mouth": box_of([points], LIPS)}
        own = crop(person.frame, person.M, SIDE)
        teeth = setup.look(person.frame, person.M).mouth[0] > SHOWS_TEETH
        for method in setup.engines:
            result = setup.methods[method](person, person.face, person.frame)
            found = {name: psnr(crop(result, person.M, SIDE), own, box) for name, box in boxes.items()}
            for name, value in found.items():
                yield Record(f"{kind}, {name}, dB", method, person.name, value)
            if kind == "smiling" and teeth:
                yield Record("smiling, mouth, dB, teeth shown", method, person.name, found["mouth"])
            if method == PLAN:
                pictures = {"itself": (person.frame, person.M), "result": (result, person.M)}
                case = f"{kind}: mouth {found['mouth']:.1f} dB"
                setup.album.add("itself", found["mouth"], person.name, case, pictures)


def box_of(points: list[np.ndarray], rows: tuple[int, ...], margin: float = MARGIN) -> np.ndarray:
    """[SIDE, SIDE]: the box of these rows of all the landmarks, and a margin in crop sides."""
    chosen = np.concatenate([p[list(rows)] for p in points])
    return face_box(np.concatenate([chosen - margin, chosen + margin]).astype(np.float32), SIDE)


def grey(frame: Frame) -> Frame:
    """The same picture in black and white, u8 [H, W, 3]."""
    light = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat((light + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def chroma(pixels: np.ndarray, box: np.ndarray) -> float:
    """How far colours are from grey: the mean over a box of the largest less the smallest channel, levels 0 ... 255."""
    return float(np.ptp(pixels[:, box], axis=0).mean() * 127.5)


def whiteness(look: Look, where: Look) -> float:
    """How bright the teeth are over the skin: of what lies between the lips of `where` the brighter half's median, over
    the median of both cheeks; luminance, 0 ... 255."""
    import cv2

    grey = cv2.cvtColor(look.picture, cv2.COLOR_RGB2GRAY)
    inner = np.zeros(grey.shape, np.uint8)
    cv2.fillPoly(inner, [np.round(where.points[60:68] * len(grey)).astype(np.int32)], 1)
    mouth = grey[inner > 0]
    if len(mouth) < 20:
        return float("nan")
    cheeks = np.zeros(grey.shape, np.uint8)
    for x, y in cheek_points(where):
        cv2.circle(cheeks, (round(x * len(grey)), round(y * len(grey))), round(0.03 * len(grey)), 1, -1)
    return float(np.percentile(mouth, 75)) / max(float(np.median(grey[cheeks > 0])), 1.0)


def cheek_points(look: Look) -> np.ndarray:
    """[2, 2]: the middles of the cheeks, below the eyes and beside the nose, crop units."""
    p = look.points
    return np.stack(
        [
            (p[36] + p[39]) / 2 * 0.45 + p[48] * 0.3 + p[2] * 0.25,
            (p[42] + p[45]) / 2 * 0.45 + p[54] * 0.3 + p[14] * 0.25,
        ]
    )
