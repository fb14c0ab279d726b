"""The class of an expression, by its coefficients: the prototypes of EMFACS (Friesen and Ekman 1983), with ARKit's
blendshapes in the place of FACS's action units."""

from __future__ import annotations

import numpy as np

from fetfast.spec import BLENDSHAPES

LABELS = ("neutral", "happiness", "fear", "surprise", "sadness", "anger", "disgust", "contempt", "other")
SHOWN = 0.3  # of a coefficient: an action that counts
# Actions that belong together: each must be shown, by any of its blendshapes, the sides averaged. The first prototype
# that is complete names the expression, the more demanding ones before those that they include.
PROTOTYPES = {
    "happiness": (("mouthSmile",),),  # AU 12
    "fear": (("browInnerUp",), ("eyeWide",), ("mouthStretch",)),  # AU 1, 5, 20
    "surprise": (("browInnerUp", "browOuterUp"), ("eyeWide", "jawOpen")),  # AU 1, 2, 5, 26
    "sadness": (("browInnerUp",), ("mouthFrown", "mouthShrugLower")),  # AU 1, 15, 17
    "anger": (("browDown",), ("eyeWide", "mouthPress", "mouthFunnel", "jawForward")),  # AU 4, 5, 22, 24
    "disgust": (("noseSneer", "mouthUpperUp"),),  # AU 9, 10
}
ONE_SIDED = ("mouthSmile", "mouthDimple")  # AU 12, 14 of one side: contempt
PASSING = ("eyeBlink", "eyeLook", "eyeSquint")  # eyes that blink, look about or narrow leave a face neutral


def classify(blendshapes: np.ndarray) -> int:
    """The place in LABELS of coefficients f32 [52]."""
    value = dict(zip(BLENDSHAPES, np.asarray(blendshapes).tolist(), strict=True))

    def sides(stem: str) -> list[float]:
        return [amount for name, amount in value.items() if name in (stem, f"{stem}Left", f"{stem}Right")]

    def shown(action: tuple[str, ...]) -> bool:
        return max(sum(sides(stem)) / len(sides(stem)) for stem in action) >= SHOWN

    if any(max(sides(stem)) - min(sides(stem)) >= SHOWN for stem in ONE_SIDED):
        return LABELS.index("contempt")
    for name, actions in PROTOTYPES.items():
        if all(shown(action) for action in actions):
            return LABELS.index(name)
    still = all(amount < SHOWN for name, amount in value.items() if not name.startswith(PASSING))
    return LABELS.index("neutral" if still else "other")
