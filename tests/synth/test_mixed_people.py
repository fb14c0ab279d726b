"""People between two people: look-alikes with a share of another's skin."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fetfast import image
from fetfast.synth import portrait_dataset, regions
from fetfast.synth.face_submesh import FACE
from fetfast.synth.fit import Fit, fit_file
from fetfast.synth.portrait import Portrait, mixed, prepare

SIZE = 128


def test_who_is_between_two_people(
    model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit, monkeypatch
) -> None:
    """Others who are trained on, by the seed; nobody who wears glasses, and nobody with themselves."""
    seen: list[str] = []

    def prepared(kit, submesh, picture, fit, size):
        seen.append(picture)
        return replace(portrait_128, fit=fit, glasses=picture == "002.jpg")

    monkeypatch.setattr(portrait_dataset, "prepare", prepared)
    monkeypatch.setattr(portrait_dataset.image, "load", lambda path: path.name)
    monkeypatch.setattr(portrait_dataset, "mixed", lambda kit, submesh, one, other, share: (other.fit, share))
    found = [(Path(f"{n:03}.jpg"), replace(fitted)) for n in range(30)]
    found.append((Path("self.jpg"), portrait_128.fit))
    alike = portrait_dataset.people_like(model, portrait_128, found, SIZE, [1, 2])
    assert (
        len(seen) == portrait_dataset.ALIKE // len(found)
        and not any(portrait_dataset.held_out(Path(name)) for name in seen)
        and "self.jpg" not in seen
    )
    assert len(alike) == len(seen) - ("002.jpg" in seen) and all(0.3 <= share <= 0.9 for _, share in alike)
    again = portrait_dataset.people_like(model, portrait_128, found, SIZE, [1, 2])
    assert [share for _, share in again] == [share for _, share in alike]
    assert portrait_dataset.people_like(model, portrait_128, found, SIZE, [2, 2]) != alike
    assert not portrait_dataset.people_like(model, replace(portrait_128, glasses=True), found, SIZE, [1, 2])


def test_between_two_people(model: portrait_dataset.Model, portrait_128: Portrait, shared: Path) -> None:
    file = shared / "portraits" / "005.jpg"
    other = prepare(model.kit, model.submesh, image.load(file), fit_file(model.kit, file), SIZE)
    same = mixed(model.kit, model.submesh, portrait_128, other, 0.0)
    assert np.abs(same.real.astype(int) - portrait_128.real).max() <= 1
    both = mixed(model.kit, model.submesh, portrait_128, other, 0.8)
    assert both.fit is portrait_128.fit
    change = np.abs(both.photo - portrait_128.photo).mean(2)
    x, y = (portrait_128.screen[:, :2] * len(change)).astype(int).T
    cheek = model.submesh.landmarks[[50, 280]]
    assert change[y, x][cheek].min() > 2 and change[:20].max() == 0
    for part in (portrait_128.regions == regions.REGIONS.index(name) for name in ("background", "eyes")):
        assert np.median(change[::2, ::2][part]) < 0.5 and np.mean(change[::2, ::2][part]) < 2
    tone = [p.photo[y, x][model.submesh.kind == FACE].mean(0) for p in (portrait_128, both, other)]
    assert np.abs(tone[1] - tone[0]).max() < 0.6 * np.abs(tone[2] - tone[0]).max() + 4
