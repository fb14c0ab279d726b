"""One step of a recipe: rates, weights, guard, averages, who learns from what; on networks of a number or two."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi, prod

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fetfast.errors import BadInput  # noqa: E402
from fetfast.models.layers import BatchNorm  # noqa: E402
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec  # noqa: E402
from fetfast.train import run as runs  # noqa: E402
from fetfast.train.recipe import Recipe, Update  # noqa: E402

STAGE = Stage("net", (TensorSpec("x", (1,)),), (TensorSpec("y", (1,)),), precise=True)
SPEC = Spec("toy", "small", 8, (STAGE,), {"encode": Task((Output("codes", {"code": "y"}),))})
TOP = 0.01  # a peak rate
DONE_RISING = 10_000  # a step after the warm-up


class Numbers(nn.Module):
    def __init__(self, *values: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values))


def terms(**found):
    """A loss that gives these terms of the networks, and nothing to later updates."""
    return lambda networks, spec, batch: ({name: term(networks, batch) for name, term in found.items()}, {})


def begin(*updates: Update, helpers=None, stages=None, **others) -> tuple[runs.Run, Recipe]:
    recipe = Recipe("toy", ("net",), batch=dict, count=1, steps=9, updates=updates, measure=dict, helpers=helpers or {},
                    **others)  # fmt: skip
    run = runs.start(recipe, stages or {"net": Numbers(1.0, -2.0)}, 0)
    run.step = DONE_RISING
    return run, recipe


def step(
    run: runs.Run, recipe: Recipe, progress: float = 0.0, seed: int = 0, **batch: torch.Tensor
) -> dict[str, float]:
    return runs.advance(run, recipe, SPEC, batch, progress, seed)


def test_the_learning_rate_rises_for_200_steps_and_follows_one_cosine_to_a_fiftieth():
    assert runs.rate(0, 0) == pytest.approx(1 / 200)
    assert runs.rate(99, 0) == pytest.approx(0.5)
    assert runs.rate(199, 0) == runs.rate(5000, 0) == pytest.approx(1)
    assert runs.rate(5000, 0.5) == pytest.approx(0.51)
    assert runs.rate(5000, 0.25) == pytest.approx(0.02 + 0.98 * (1 + cos(pi / 4)) / 2)
    assert runs.rate(5000, 1) == pytest.approx(0.02)
    rates = [runs.rate(step, step / 1000) for step in range(200, 1000)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("at", "progress", "part"), [(DONE_RISING, 0.0, 1.0), (DONE_RISING, 0.5, 0.51), (49, 0.0, 0.25)]
)
def test_each_network_learns_at_its_own_rate(at, progress, part):
    """AdamW's first step is as long as its rate, whatever the gradient; and weights decay by rate times 0.1."""
    update = Update({"net": 0.01, "helper": 0.03}, terms(a=lambda n, _: (n["net"].w * n["helper"].w).sum()), {"a": 1},
                    weight_decay=0.1)  # fmt: skip
    run, recipe = begin(update, helpers={"helper": lambda: Numbers(5.0, 4.0)})
    run.step = at
    step(run, recipe, progress)
    net, helper = (run.networks[name].w.tolist() for name in ("net", "helper"))
    a, b = 0.01 * part, 0.03 * part
    assert net == pytest.approx([1 * (1 - 0.1 * a) - a, -2 * (1 - 0.1 * a) - a], abs=1e-6)
    assert helper == pytest.approx([5 * (1 - 0.1 * b) - b, 4 * (1 - 0.1 * b) + b], abs=1e-6)


def test_terms_are_weighted():
    update = Update({"net": TOP}, terms(a=lambda n, _: n["net"].w[0], b=lambda n, _: n["net"].w[1]), {"a": 3, "b": 0.5})
    run, recipe = begin(update)
    assert step(run, recipe) == {"a": 3, "b": -1}
    moments = run.optimizers[0].state[run.networks["net"].w]["exp_avg"]
    assert moments.tolist() == pytest.approx([0.1 * 3, 0.1 * 0.5])  # 1 - 0.9 of the gradient


def test_betas_are_the_updates():
    update = Update({"net": TOP}, terms(a=lambda n, _: n["net"].w.sum()), {"a": 1}, betas=(0.5, 0.75))
    run, recipe = begin(update)
    step(run, recipe)
    state = run.optimizers[0].state[run.networks["net"].w]
    assert state["exp_avg"].tolist() == [0.5, 0.5] and state["exp_avg_sq"].tolist() == [0.25, 0.25]


def test_a_gradient_is_cut_to_a_length_of_5_over_all_networks_of_an_update():
    update = Update({"net": TOP, "helper": TOP},
                    terms(a=lambda n, _: 30 * n["net"].w[0] + 40 * n["helper"].w[1]), {"a": 1})  # fmt: skip
    run, recipe = begin(update, helpers={"helper": lambda: Numbers(0.0, 0.0)})
    step(run, recipe)
    moments = [run.optimizers[0].state[run.networks[name].w]["exp_avg"].tolist() for name in ("net", "helper")]
    assert moments == [pytest.approx([0.3, 0], abs=1e-4), pytest.approx([0, 0.4], abs=1e-4)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_overflows_changes_nothing(bad):
    class Normed(Numbers):
        def __init__(self) -> None:
            super().__init__(1.0, -2.0)
            self.norm = BatchNorm(1)

    def loss(networks, spec, batch):
        x = networks["net"].norm(batch["x"])
        return {"a": (networks["net"].w * x.mean()).sum() * batch["x"].max()}, {}

    run, recipe = begin(Update({"net": TOP}, loss, {"a": 1}), stages={"net": Normed()})
    good = torch.tensor([1.0, 2.0, 4.0, 3.0]).reshape(1, 1, 2, 2)
    step(run, recipe, x=good)
    held = {name: value.clone() for name, value in run.networks["net"].state_dict().items()}
    moments = run.optimizers[0].state[run.networks["net"].w]["exp_avg"].clone()
    step(run, recipe, x=good * bad)
    assert all(torch.equal(value, held[name]) for name, value in run.networks["net"].state_dict().items())
    assert torch.equal(run.optimizers[0].state[run.networks["net"].w]["exp_avg"], moments)
    assert all(value.isfinite().all() for value in run.averages["net"].state_dict().values())
    step(run, recipe, x=good)
    assert not torch.equal(run.networks["net"].w, held["w"]), "and training goes on"


def test_the_average_forgets_its_start_as_it_says():
    """After step n it keeps (1 + n) / (10 + n) of itself; from a start of 1, values of 0 leave the product."""
    net = Numbers(1.0)
    average = runs.averaged(net)
    with torch.no_grad():
        net.w.zero_()
    for n in range(1, 8):
        average.update_parameters(net)
        assert average.module.w.item() == pytest.approx(prod((1 + k) / (10 + k) for k in range(1, n + 1)))
    average.n_averaged.fill_(100_000)
    before = average.module.w.item()
    average.update_parameters(net)
    assert average.module.w.item() == pytest.approx(0.999 * before)


def test_running_statistics_are_averaged_as_weights_are_and_counts_are_taken():
    norm = nn.BatchNorm2d(1)
    average = runs.averaged(norm)
    norm.running_mean.fill_(11)
    norm.num_batches_tracked.fill_(7)
    average.update_parameters(norm)
    assert average.module.running_mean.item() == pytest.approx(11 * 9 / 11)  # keeps 2 / 11 of 0
    assert average.module.num_batches_tracked.item() == 7
    assert average.module.running_var.item() == 1


def test_the_average_follows_each_step():
    run, recipe = begin(Update({"net": TOP}, terms(a=lambda n, _: n["net"].w.sum()), {"a": 1}))
    step(run, recipe)
    assert run.averages["net"].module.w.tolist() == pytest.approx([1 - TOP * 9 / 11, -2 - TOP * 9 / 11])
    assert run.averages.keys() == {"net"} and run.step == DONE_RISING + 1


def two(after: float = 0.5) -> tuple[runs.Run, Recipe]:
    """A network that wants its helper's opinion high, and a helper that wants the same low."""
    seen = []

    def first(networks, spec, batch):
        seen.append(set(networks))
        assert [n for n, network in networks.items() if network.w.requires_grad] == ["net"]
        opinion = (networks["net"].w * networks["helper"].w).sum() if "helper" in networks else networks["net"].w.sum()
        return {"high": -opinion}, {"made": networks["net"].w * 1}

    def second(networks, spec, batch):
        assert not batch["made"].requires_grad, "cut off from what made it"
        assert [n for n, network in networks.items() if network.w.requires_grad] == ["helper"]
        return {"low": (batch["made"] * networks["helper"].w + networks["net"].w).sum()}, {}

    run, recipe = begin(
        Update({"net": TOP}, first, {"high": 1}), Update({"helper": TOP}, second, {"low": 1}, after=after),
        helpers={"helper": lambda: Numbers(3.0, 3.0)},
    )  # fmt: skip
    run.seen = seen
    return run, recipe


def test_updates_take_turns_and_each_changes_its_own_networks_alone():
    run, recipe = two(after=0.0)
    found = step(run, recipe)
    assert found == pytest.approx({"high": 3, "low": 3 * (1 - 2) + (1.01 - 1.99)}), (
        "the second sees what the first made"
    )
    assert run.networks["net"].w.tolist() == pytest.approx([1.01, -1.99])
    assert run.networks["helper"].w.tolist() == pytest.approx([2.99, 3.01])
    moments = [optimizer.state_dict()["state"][0]["exp_avg"].tolist() for optimizer in run.optimizers]
    assert moments == [pytest.approx([-0.3, -0.3]), pytest.approx([0.1, -0.2])], "of its own loss alone"


def test_an_update_begins_when_its_time_has_come():
    run, recipe = two(after=0.5)
    assert step(run, recipe, progress=0.499).keys() == {"high"}
    assert run.networks["helper"].w.tolist() == [3, 3] and run.seen == [{"net"}]
    assert step(run, recipe, progress=0.5).keys() == {"high", "low"}
    assert run.networks["helper"].w.tolist() != [3, 3] and run.seen[1] == {"net", "helper"}


def test_what_no_update_names_stands_still_and_judges_as_in_use():
    """A judge that was trained before, and a stage that another recipe trains: neither learns, both are there."""
    modes = {}

    def loss(networks, spec, batch):
        modes.update({name: module.training for name, module in networks.items()})
        return {"a": (networks["net"].w * networks["judge"].w * networks["other"].w).sum()}, {}

    run, recipe = begin(
        Update({"net": TOP}, loss, {"a": 1}), helpers={"judge": lambda: Numbers(1.0, 1.0)},
        stages={"net": Numbers(1.0, -2.0), "other": Numbers(1.0, 1.0)},
    )  # fmt: skip
    step(run, recipe)
    assert modes == {"net": True, "judge": False, "other": False}
    assert run.networks["judge"].w.tolist() == run.others["other"].w.tolist() == [1, 1]
    assert run.networks["judge"].w.grad is None and run.others["other"].w.grad is None
    assert not any(module.training for module in run.shown.values())
    assert run.shown["net"] is run.averages["net"].module


def test_random_numbers_depend_on_seed_and_step_alone():
    drawn = []

    def loss(networks, spec, batch):
        drawn.append(torch.rand(1).item())
        return {"a": networks["net"].w.sum()}, {}

    for seed in (0, 0, 1):
        run, recipe = begin(Update({"net": TOP}, loss, {"a": 1}))
        torch.rand(len(drawn) + 3)  # whatever else was drawn
        step(run, recipe, seed=seed)
        step(run, recipe, seed=seed)
    assert drawn[:2] == drawn[2:4] and len(set(drawn)) == 4


def test_helpers_are_drawn_from_the_seed():
    recipe = Recipe("toy", ("net",), dict, 1, 9, (), dict, helpers={"helper": lambda: nn.Linear(2, 2)})
    a, b, c = (runs.start(recipe, {"net": Numbers(1.0)}, seed).networks["helper"].weight for seed in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_precise_stages_are_trained_in_f32_and_others_in_bf16():
    kinds = []

    def loss(networks, spec, batch):
        kinds.append((networks["net"].w[None] @ networks["net"].w[:, None]).dtype)
        return {"a": networks["net"].w.sum()}, {}

    run, recipe = begin(Update({"net": TOP}, loss, {"a": 1}))
    for precise in (True, False):
        runs.advance(run, recipe, replace(SPEC, stages=(replace(STAGE, precise=precise),)), {}, 0.0, 0)
    assert kinds == [torch.float32, torch.bfloat16]


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    file = tmp_path / "checkpoint.pt"
    one, _ = begin(Update({"net": TOP}, terms(a=lambda n, _: n["net"].w.sum()), {"a": 1}))
    one.save(file)
    other, _ = two()
    with pytest.raises(BadInput, match="no checkpoint of this recipe"):
        other.load(file)
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(BadInput, match="move it away to begin anew"):
        one.load(file)
