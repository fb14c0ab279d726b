"""What is told of people, or seen in their pictures, by which figures are split.

    skin      by the individual typology angle (Chardin et al. 1991) of the cheeks: light above 41 degrees, dark below
              10; the photograph's light is in it
    glasses   a sharp edge across the bridge of the nose (the rule of `fetfast synth`)
    beard     a chin darker, greyer and rougher than the cheeks
    age, gender, group   where people told them (the London set)

Found by rule in pictures, so wrong for some; good for asking whether a plan serves one group worse, for nothing else.
"""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fetfast.evaluate.points import Look
from fetfast.evaluate.setup import Person
from fetfast.evaluate.smiles import cheek_points
from fetfast.face import to_crop

LIGHT, DARK = 41.0, 10.0  # degrees
BEARD = 0.7  # from this amount on
FEW = 3  # a group of fewer is not shown

Groups = dict[str, str]


def seen(person: Person, look: Look) -> Groups:
    """skin, glasses, beard."""
    return {"skin": skin(look), "glasses": glasses(person), "beard": "yes" if beard(look) > BEARD else "no"}


def skin(look: Look) -> str:
    lab = _lab(look)
    side = len(look.picture)
    y, x = np.mgrid[:side, :side] / side
    where = np.any([np.hypot(x - cx, y - cy) < 0.03 for cx, cy in cheek_points(look)], axis=0)
    L, _, b = np.median(lab[where], axis=0)
    angle = np.degrees(np.arctan2(L - 50, b))
    return "light" if angle > LIGHT else "dark" if angle < DARK else "medium"


def glasses(person: Person) -> str:
    from fetfast.synth.portrait import wears_glasses

    points: Any = SimpleNamespace(M=person.M, landmarks=to_crop(person.face.landmarks[:, :2], person.M))
    return "yes" if wears_glasses(person.frame, points) else "no"


def beard(look: Look) -> float:
    """How much darker, greyer and rougher the chin and its sides are than the cheeks. Of 85 faces looked at, six were
    on the wrong side of BEARD: trimmed grey beards below it, dark shadows above."""
    import cv2

    lab, p, side = _lab(look), look.points, len(look.picture)
    rough = np.abs(lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 2.5))
    y, x = np.mgrid[:side, :side] / side
    light, chroma = _tone(lab, np.any([np.hypot(x - cx, y - cy) < 0.03 for cx, cy in cheek_points(look)], axis=0))
    found = []
    for lip, jaw, share in ((57, 8, 0.7), (58, 6, 0.6), (56, 10, 0.6)):
        cx, cy = (1 - share) * p[lip] + share * p[jaw]
        where = np.hypot(x - cx, y - cy) < 0.07 * look.unit
        here, duller = _tone(lab, where)
        grain = 100 * rough[where].mean() / max(float(lab[where][:, 0].mean()), 15.0)
        grey = 1 - duller / chroma if chroma > 6 else 0.0  # a photograph in black and white says nothing
        found.append((np.clip(1 - here / light, 0, 0.5), np.clip(grey, 0, 0.7), grain))
    return float(np.median(found, axis=0) @ (1, 0.6, 0.06))


def _tone(lab: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """Median lightness and chroma."""
    light, a, b = np.median(lab[where], axis=0)
    return float(light), float(np.hypot(a, b))


def told(folder: Path) -> dict[str, Groups]:
    """What people of the London set told, by their numbers."""
    with (folder / "people.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found: dict[str, Groups] = {}
    for row in rows:
        groups = {"gender": row["gender"], "group": row["group"]}
        if row["age"].isdigit():
            groups["age"] = "under 30" if int(row["age"]) < 30 else "30 and over"
        found[row["id"]] = {name: value for name, value in groups.items() if value not in ("", "NA")}
    return found


def members(people: dict[str, Groups]) -> dict[str, list[str]]:
    """`skin: light` -> who; groups of FEW or more, and only where there are two or more to compare."""
    found: dict[str, list[str]] = {}
    for name, groups in people.items():
        for kind, value in groups.items():
            found.setdefault(f"{kind}: {value}", []).append(name)
    return {group: sorted(names) for group, names in sorted(found.items()) if len(names) >= FEW}


def _lab(look: Look) -> np.ndarray:
    import cv2

    return np.asarray(cv2.cvtColor(look.picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
