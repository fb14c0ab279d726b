"""Figures are ratios of sums over people, with intervals."""

import numpy as np
import pytest

from fetfast.evaluate.figures import Record, add_up, difference, estimate, estimates


def test_a_mean_is_a_sum_over_a_count_and_a_share_a_sum_over_a_sum():
    sums = add_up([Record("f", "plan", "a", 1), Record("f", "plan", "a", 3), Record("f", "plan", "b", 5)])
    assert sums == {"f": {"plan": {"a": [4, 2], "b": [5, 1]}}}
    assert estimate(sums["f"]["plan"])[0] == 3
    assert estimate({"a": [1, 2], "b": [2, 2]})[0] == 0.75


def test_what_is_not_a_number_is_left_out():
    sums = add_up(
        [Record("f", "plan", "a", np.nan), Record("g", "plan", "a", 1, 2), Record("g", "plan", "a", 1, np.inf)]
    )
    assert sums == {"g": {"plan": {"a": [1, 2]}}}
    assert estimate({}) is None and estimate({"a": [0, 0]}) is None


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = rng.normal(2, 1, 40)
        _, low, high = estimate({str(i): [v, 1] for i, v in enumerate(values)})
        hits += low < 2 < high
    assert 0.88 < hits / 200 < 0.99


def test_one_person_has_no_interval_and_more_people_a_narrower_one():
    assert estimate({"a": [1, 2]}) == [0.5, 0.5, 0.5]
    few, many = ({str(i): [i % 2, 1] for i in range(n)} for n in (10, 200))
    widths = [high - low for _, low, high in map(estimate, (few, many))]
    assert widths[1] < widths[0] / 3


def test_some_of_the_people():
    people = {"a": [1, 1], "b": [3, 1], "c": [8, 1]}
    assert estimate(people, ["a", "b"])[0] == 2 and estimate(people, ["x"]) is None


def test_a_difference_is_paired():
    """Both share what differs between people: it must not widen the interval of what differs between the two."""
    rng = np.random.default_rng(2)
    base = rng.normal(0, 5, 30)
    a = {str(i): [v, 1] for i, v in enumerate(base)}
    b = {str(i): [v + 1 + rng.normal(0, 0.1), 1] for i, v in enumerate(base)}
    found, low, high = difference(a, b)
    assert found == pytest.approx(1, abs=0.1) and 0.9 < low < high < 1.1
    assert difference(a, {"x": [1, 1]}) is None
    assert difference(a, b | {"only in b": [1e6, 1]}) == [found, low, high]


def test_every_figure_of_every_method():
    found = estimates(
        add_up([Record("f", "plan", "a", 1), Record("f", "copy", "a", 0), Record("f", "none", "a", 0, 0)])
    )
    assert found == {"f": {"plan": [1, 1, 1], "copy": [0, 0, 0]}}
