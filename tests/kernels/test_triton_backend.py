"""Backend `triton`: what it says where it cannot run, its glue on the CPU, and on a GPU the whole of it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from threading import Thread

import numpy as np
import pytest
import torch
from fetfast.kernels.configs import TABLE, Config
from hostmemory import HostMemory
from test_networks import SIDE, scrambled, short, shrunk

from fetfast.backends import eager, triton, tuned
from fetfast.backends.gpu import CAPTURING, Gpu
from fetfast.errors import BadInput, Unavailable
from fetfast.models import family
from fetfast.models.layers import cast
from fetfast.plan import Plan

H100 = Gpu(0, "NVIDIA H100", "9.0")


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A U-Net of few layers and small maps."""
    spec = family("unet").SPECS["small"]
    stages = tuple(shrunk(stage, spec.resolution) for stage in spec.stages)
    spec = replace(short(spec), resolution=SIDE, stages=stages)
    weights = {}
    for name, module in family("unet").build(spec).items():
        dtype = torch.float32 if spec.stage(name).precise else torch.float16
        state = cast(scrambled(module), dtype).state_dict()
        weights |= {f"{name}.{key}": tensor.numpy() for key, tensor in state.items()}
    return Plan(spec, "fp16", weights, {})


def random_inputs(stage, batch, seed=0):
    rng = np.random.default_rng(seed)
    return {t.name: rng.random((batch, *t.shape), np.float32) for t in stage.inputs}


def assert_like_eager(plan, runners, batch, device, kind=np.asarray, seed=0):
    """kind: what makes of an array what the runners are given, and give."""
    oracle = eager.load(plan, device)
    for stage in plan.spec.stages:
        inputs = random_inputs(stage, batch, seed)
        results = runners[stage.name]({name: kind(array) for name, array in inputs.items()})
        assert {type(result) for result in results.values()} == {type(kind(np.zeros(1)))}
        got = {name: torch.as_tensor(result).cpu().numpy().copy() for name, result in results.items()}
        wanted = oracle[stage.name](inputs)
        for tensor in stage.outputs:
            assert got[tensor.name].shape == (batch, *tensor.shape) and got[tensor.name].dtype == np.float32
            np.testing.assert_allclose(got[tensor.name], wanted[tensor.name], atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    "gpu, device, reason",
    [
        (H100, "cpu", "run on NVIDIA GPUs, not on cpu; give device='cuda'"),
        (Gpu(0, "Tesla V100", "7.0"), None, "Tesla V100 has compute capability 7.0, the fused kernels need 8.0"),
        (None, None, "no driver"),
    ],
)
def test_says_why_not_in_one_line(gpu, device, reason, plan, monkeypatch):
    def find(device):
        if gpu is None:
            raise Unavailable("no driver")
        return gpu

    monkeypatch.setattr(triton, "find", find)
    said = triton.why_not(plan, device)
    assert reason in said and "\n" not in said


def test_missing_libraries_are_named(plan, monkeypatch):
    monkeypatch.setattr(triton, "find", lambda device: H100)
    monkeypatch.setattr(triton, "find_spec", lambda name: None)
    assert triton.why_not(plan, None) == "torch and triton missing; pip install 'fetfast[cuda]'"


@pytest.fixture
def host(monkeypatch, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: its own tests say more")
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    monkeypatch.setattr(triton, "find", lambda device: H100)
    monkeypatch.setattr(triton, "TorchMemory", HostMemory)
    monkeypatch.setattr(triton, "BATCHES", (1, 2))


@pytest.mark.usefixtures("host")
def test_runs_any_batch(plan):
    runners = triton.load(plan)
    for kind in (np.asarray, torch.from_numpy):
        assert_like_eager(plan, runners, 3, "cpu", kind)  # in two parts, of 2 and 1
    empty = runners["unet"](random_inputs(plan.spec.stage("unet"), 0))
    assert all(array.shape[0] == 0 for array in empty.values())


@pytest.mark.usefixtures("host")
def test_memory_that_runs_out_is_said_and_smaller_batches_go_on(plan, monkeypatch):
    runners = triton.load(plan)
    zeros = HostMemory.zeros

    def too_much(self, shape):
        if shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return zeros(self, shape)

    def empty_cache():
        assert CAPTURING.locked(), "which PyTorch forbids while another thread captures"

    monkeypatch.setattr(HostMemory, "zeros", too_much)
    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    stage = plan.spec.stage("fuse")
    with pytest.raises(Unavailable, match="no memory left on cpu for stage fuse at batch 2; run smaller batches"):
        runners["fuse"](random_inputs(stage, 2))
    assert runners["fuse"](random_inputs(stage, 1))["fused_points"].shape == (1, 478, 2)


def test_tuned_tables_come_back(monkeypatch, tmp_path):
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    assert tuned.read("NVIDIA H100") == TABLE
    mine = {"sm_90/x": Config(64, 32, 16, 4, 3, True, 8), "sm_90/y": Config(0, 0, 0, 0, 0, library=True)}
    file = tuned.write("NVIDIA H100", mine)
    assert tuned.read("NVIDIA H100") == TABLE | mine and tuned.read("another") == TABLE
    for row in ({"rows": 48}, {"rows": "64"}, {"split": 0}, {"warps": 3}, {"more": 1}):
        file.write_text(json.dumps({"sm_90/x": json.loads(file.read_text()).get("sm_90/x", {}) | row}))
        with pytest.raises(BadInput, match=r"is damaged .* remove it"):
            tuned.read("NVIDIA H100")
        tuned.write("NVIDIA H100", mine)


@pytest.mark.gpu
class TestOnGpu:
    @pytest.fixture(autouse=True)
    def needs_gpu(self):
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")

    def test_runs_any_batch(self, plan):
        assert triton.why_not(plan, "cuda") is None
        runners = triton.load(plan, "cuda")
        for batch in (1, 3, 40, 1):
            for kind in (np.asarray, partial(torch.tensor, device="cuda")):
                assert_like_eager(plan, runners, batch, "cuda", kind, seed=batch)

    def test_the_same_bits_every_time(self, plan):
        runners, stage = triton.load(plan, "cuda"), plan.spec.stage("unet")
        inputs = random_inputs(stage, 2)
        first = {name: array.copy() for name, array in runners["unet"](inputs).items()}
        runners["unet"](random_inputs(stage, 2, seed=1))
        assert all(np.array_equal(first[name], array) for name, array in runners["unet"](inputs).items())

    def test_two_engines_in_two_threads(self, plan):
        failures: list[BaseException] = []

        def drive(seed):
            try:
                runners = triton.load(plan, "cuda")
                for step in range(50):
                    assert_like_eager(plan, runners, 1 + step % 3, "cuda", seed=100 * seed + step)
            except BaseException as failure:
                failures.append(failure)

        threads = [Thread(target=drive, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]

    def test_memory_stays_where_it_is(self, plan):
        runners, inputs = triton.load(plan, "cuda"), random_inputs(plan.spec.stage("unet"), 1)
        runners["unet"](inputs)
        before = torch.cuda.memory_allocated()
        for _ in range(1000):
            runners["unet"](inputs)
        assert torch.cuda.memory_allocated() == before
