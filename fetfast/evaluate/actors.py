"""Drivers who do one action at a time and nothing else: rendered people who do not exist, and photographs re-expressed.

An actor's pictures show the same head under the same light, so what differs between two of them is the action alone,
and dense optical flow between them is its motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from fetfast import assets, image
from fetfast.errors import NoFace
from fetfast.evaluate.motion import SIDES
from fetfast.image import Frame
from fetfast.synth.appearance import random_appearance
from fetfast.synth.camera import Pose
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import fit_file
from fetfast.synth.materials import Charts
from fetfast.synth.portrait import gaze_of, prepare
from fetfast.synth.portrait_dataset import open_model
from fetfast.synth.reexpress import reexpress
from fetfast.synth.render import render

SIZE = 384
MADE_BY = ("accessories", "appearance", "camera", "materials", "raster", "render")  # modules that pictures depend on
IDENTITIES = (1, 4, 6, 11)  # seeds of the rendered people: light and dark, broad and narrow faces
SHAPE = 0.7  # standard deviation of their identity coefficients
LIDS = ((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373))  # upper, lower: right, left
SHUT = 1.4  # at most this much of eyeBlink closes an eye


@dataclass(frozen=True)
class Action:
    """modes: the morphable model's expression coefficients at all of the action. seen: what must move, as (part of
    `motion.PARTS`, axis); where the part is one of a pair both sides are looked at, or only `sides`."""

    modes: dict[str, float]
    seen: tuple[tuple[str, str], ...]
    sides: tuple[str, ...] = SIDES


def _both(*stems: str) -> dict[str, float]:
    return {f"{stem}_{side}": 1.0 for stem in stems for side in "RL"}


ACTIONS = {
    "blink": Action(_both("eyeBlink"), (("lid", "open"),)),
    "wink right": Action({"eyeBlink_R": 1.0}, (("lid", "open"),), ("right",)),
    "wink left": Action({"eyeBlink_L": 1.0}, (("lid", "open"),), ("left",)),
    "wide": Action(_both("eyeWide"), (("lid", "open"),)),
    "brows up": Action(_both("browOuterUp", "browInnerUp"), (("outer brow", "up"), ("inner brow", "up"))),
    "inner brows up": Action(_both("browInnerUp"), (("inner brow", "up"),)),
    "brows down": Action(_both("browDown"), (("outer brow", "up"), ("inner brow", "up"))),
    "jaw": Action({"jawOpen": 1.0}, (("lower lip", "up"),)),
    "smile": Action(_both("mouthSmile"), (("corner", "up"), ("corner", "out"))),
    "frown": Action(_both("mouthFrown"), (("corner", "up"),)),
    "pucker": Action({"mouthPucker": 1.0}, (("corner", "out"),)),
    "funnel": Action({"mouthFunnel": 1.0}, (("corner", "out"),)),
    "sneer": Action(_both("noseSneer"), (("nostril", "up"),)),
    "lips right": Action({"mouthRight": 1.0}, (("corner", "right"),)),
    "lips left": Action({"mouthLeft": 1.0}, (("corner", "right"),)),
    "gaze right": Action({"eyeLookOut_R": 0.8, "eyeLookIn_L": 0.8}, (("iris", "right"),)),
    "gaze left": Action({"eyeLookIn_R": 0.8, "eyeLookOut_L": 0.8}, (("iris", "right"),)),
    "gaze up": Action({"eyeLookUp_R": 0.7, "eyeLookUp_L": 0.7}, (("iris", "up"),)),
    "gaze down": Action({"eyeLookDown_R": 0.7, "eyeLookDown_L": 0.7}, (("iris", "up"),)),
}  # fmt: skip


@dataclass(frozen=True)
class Actor:
    """`show(expression f32 [53])` gives a picture u8 [S, S, 3]; `rest` is the expression that actions start from, and
    `blink` f32 [2] the amount of eyeBlink at which the right and the left eye are shut on this face."""

    name: str
    kit: Facekit
    show: Callable[[np.ndarray], Frame]
    rest: np.ndarray
    blink: np.ndarray

    def act(self, action: str, amount: float) -> Frame:
        """The action at 0 (at rest) ... 1 (all of it; eyes that close are shut)."""
        expression = self.rest.copy()
        for mode, strength in ACTIONS[action].modes.items():
            row = self.kit.expression_names.index(mode)
            if mode.startswith("eyeBlink"):
                strength = float(self.blink["RL".index(mode[-1])])
            # from whatever is at rest, so that half an action is half of its motion
            expression[row] += amount * (strength - expression[row])
        return self.show(expression)


def shut(kit: Facekit, shape: np.ndarray) -> np.ndarray:
    """f32 [2]: the amounts of eyeBlink at which the edges of the right and the left lids meet in a shape [N, 3] that
    wears none of it: gaps change linearly with it."""
    amounts = []
    for side, lids in zip("RL", LIDS, strict=True):
        upper, lower = (kit.landmark_vertices[list(points)] for points in zip(*lids, strict=True))
        mode = kit.expressions[kit.expression_names.index(f"eyeBlink_{side}")]
        gap = (shape[upper, 1] - shape[lower, 1]).mean()
        amounts.append(-gap / (mode[upper, 1] - mode[lower, 1]).mean())
    return np.clip(amounts, 0, SHUT)


def rendered(facekit: Path, seed: int) -> Actor:
    """Somebody who does not exist, from in front. Raises MissingAsset where the model is absent."""
    kit = open_model(facekit).kit
    rng = np.random.default_rng(seed)
    charts, rest = Charts.of(kit), np.zeros(len(kit.expression_names))
    appearance = replace(
        random_appearance(rng), glasses=0.0, stubble=0.0, style="short", light=np.array([0.3, 0.45, 0.84])
    )
    base = kit.shape(rng.normal(0, SHAPE, len(kit.identities)), rest)
    # eyes in the middle of the upper half, the head about two thirds of the picture's height
    pose = Pose(np.zeros(3), np.array([0, -1.0, -100.0]), SIZE / 27 * 100, (SIZE / 2, SIZE / 2))

    def show(expression: np.ndarray) -> Frame:
        return render(kit, charts, kit.express(base, expression), gaze_of(kit, expression), pose, appearance, SIZE)[0]

    return Actor(f"rendered {seed}", kit, kept(show, made_by(facekit), seed), rest, shut(kit, base))


def made_by(facekit: Path) -> bytes:
    """What rendered pictures depend on: the model and the code that draws it."""
    sources = [Path(render.__code__.co_filename).with_name(f"{name}.py") for name in MADE_BY]
    return b"".join(sha256(file.read_bytes()).digest() for file in (facekit, Path(__file__), *sources))


def kept(show: Callable[[np.ndarray], Frame], maker: bytes, seed: int) -> Callable[[np.ndarray], Frame]:
    """`show`, its pictures kept in the user's cache: a render takes half a second."""

    def shown(expression: np.ndarray) -> Frame:
        folder = assets.cache_folder() / "actors"
        file = folder / f"{sha256(maker + bytes([seed]) + expression.round(6).tobytes()).hexdigest()[:32]}.png"
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            image.save(file, show(expression))
        return image.load(file)

    return shown


def photographed(facekit: Path, photo: Path) -> Actor:
    """Whoever a portrait shows, re-expressed by the fitted model. Raises NoFace, MissingAsset."""
    model = open_model(facekit)
    kit, fit = model.kit, fit_file(model.kit, photo)
    portrait = prepare(kit, model.submesh, image.load(photo), fit, SIZE)
    shape = kit.shape(fit.identity, fit.expression)
    closed = [kit.expression_names.index(f"eyeBlink_{side}") for side in "RL"]
    return Actor(
        photo.stem,
        kit,
        lambda expression: reexpress(kit, model.submesh, portrait, expression).image,
        fit.expression.astype(np.float64),
        np.clip(fit.expression[closed] + shut(kit, shape), 0, SHUT),
    )


def calmest(facekit: Path, photos: list[Path], count: int) -> list[Actor]:
    """Of the people in these photographs those who look into the camera with the least expression."""
    kit = open_model(facekit).kit
    unrest = {}
    for photo in photos:
        try:
            fit = fit_file(kit, photo)
        except NoFace:
            continue
        unrest[photo] = (
            np.linalg.norm(fit.rotation) * 2 + fit.expression[kit.index("mouthSmile", "jawOpen", "eyeBlink")].sum()
        )
    return [photographed(facekit, photo) for photo in sorted(unrest, key=lambda photo: unrest[photo])[:count]]
