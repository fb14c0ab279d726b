"""One action at a time: transfers whose share of the driver's motion is known."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")


from fetfast import assets, image
from fetfast.evaluate import actions, points
from fetfast.evaluate.actors import ACTIONS, rendered, shut
from fetfast.evaluate.motion import PARTS, SIDES

if reason := points.why_not():
    pytest.skip(reason, allow_module_level=True)


def moved(**parts):
    """A motion of what is named, up; nothing else."""
    places = [(part, side) for part in (*PARTS, "lid", "iris") for side in SIDES]
    return {place: (0.0, parts.get(f"{place[0]} {place[1]}".replace(" ", "_"), 0.0)) for place in places}


@dataclass(frozen=True)
class Driver:
    motions: dict
    looks: dict = field(default_factory=dict)


def figures(action, result, driver, lids=(0.1, 0.1)):
    look = points.Look(np.zeros((2, 2, 3), np.uint8), np.zeros((68, 2), np.float32), np.array(lids, np.float32))
    shown = Driver({action: driver}, {action: [None, points.Look(look.picture, look.points, np.full(2, 0.1))]})
    return {name: top / below for name, top, below in actions.compared(action, result, [look, look], shown)}


def test_half_of_the_motion_is_a_share_of_a_half():
    full = moved(corner_right=-0.04, corner_left=-0.06)
    mine = moved(corner_right=-0.02, corner_left=-0.06)
    found = figures("frown", [moved(corner_left=-0.03), mine], [moved(corner_right=-0.02, corner_left=-0.02), full])
    assert found["frown: corner up, right"] == 0.5 and found["frown: corner up, left"] == 1
    assert found["frown"] == pytest.approx(0.8) and found["frown: half"] == 0.75 and found["frown: cross-talk"] == 0


def test_the_wrong_way_counts_against():
    full = moved(corner_right=-0.05, corner_left=-0.05)
    assert figures("frown", [full, moved(corner_right=0.05)], [full, full])["frown"] == -0.5


def test_what_should_not_move_is_cross_talk():
    full = moved(corner_right=-0.05, corner_left=-0.05, lower_lip_right=-0.03)
    mine = moved(corner_right=-0.05, corner_left=-0.05, lower_lip_right=-0.03, outer_brow_left=0.05)
    found = figures("frown", [mine, mine], [full, full])
    still = 2 * (len(PARTS) + 2) - 3  # the corners move, and so does the driver's lower lip on one side
    assert found["frown: cross-talk"] == pytest.approx(1 / still)


def test_a_wink_and_the_other_eye():
    full, mine = moved(lid_right=-0.7), moved(lid_right=-0.35, lid_left=-0.14)
    found = figures("wink right", [mine, mine], [full, full])
    assert found["wink right"] == 0.5 and found["wink right: other eye"] == pytest.approx(0.2)
    assert "wink right: lid open, left" not in found and "blink: eye ratio" not in found


def test_the_ratio_of_eyes_that_should_be_shut():
    full = moved(lid_right=-0.7, lid_left=-0.7)
    found = figures("blink", [full, full], [full, full], lids=(0.2, 0.1))
    assert found["blink: eye ratio"] == pytest.approx(1.5) and found["blink"] == 1


def test_an_eye_that_is_shut_at_rest_is_left_out():
    full, mine = moved(iris_right=0.2, iris_left=0.2), moved(iris_right=0.1, iris_left=np.nan, lid_left=np.nan)
    found = figures("gaze up", [mine, mine], [full, full])
    assert found["gaze up"] == 0.5 and "gaze up: iris up, left" not in found and found["gaze up: cross-talk"] == 0
    nobody = figures("gaze up", [full, full], [mine, mine])
    assert nobody["gaze up"] == 2 and "gaze up: iris up, left" not in nobody


def test_every_action_names_parts_that_are_there():
    for name, action in ACTIONS.items():
        assert action.modes and action.seen, name
        assert all(part in (*PARTS, "lid", "iris") for part, _ in action.seen)


@pytest.fixture(scope="module")
def actor(shared):
    return rendered(shared / "ict_facekit_f16.npz", 4)


def test_rendered_drivers_shut_their_eyes(actor, monkeypatch):
    kit = actor.kit
    base = kit.shape(np.zeros(10), np.zeros(53))
    amounts = shut(kit, base)
    expression = np.zeros(53)
    for side, amount in zip("RL", amounts, strict=True):
        expression[kit.expression_names.index(f"eyeBlink_{side}")] = amount
    closed = kit.express(base, expression)[kit.landmark_vertices[[159, 145, 386, 374]], 1]
    opened = base[kit.landmark_vertices[[159, 145, 386, 374]], 1]
    assert np.abs(closed[::2] - closed[1::2]).max() < 0.12 * (opened[::2] - opened[1::2]).min()


def test_pictures_of_actors_are_kept(actor, tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "cache_folder", lambda: tmp_path)
    first = actor.act("smile", 1)
    (file,) = (tmp_path / "actors").iterdir()
    assert np.array_equal(first, image.load(file)) and first.shape == (384, 384, 3)
    image.save(file, np.zeros_like(first))
    assert not actor.act("smile", 1).any(), "the kept one is taken"
    actor.act("smile", 0.5)
    assert len(list(Path(tmp_path / "actors").iterdir())) == 2
