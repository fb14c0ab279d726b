"""A frame on a GPU, the thing itself; tests/kernels/test_device_frames.py has stand-ins."""

from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
import torch
from steps import face, on_host

import fetfast.engine
from fetfast.engine import Engine
from fetfast.place import Device
from fetfast.step import Target


def smooth(seed, size):
    """A picture without grain, so that a hundredth of a pixel's shift is no more than a fraction of a level."""
    coarse = np.random.default_rng(seed).random((1, 3, 16, 16), np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size, mode="bilinear")[0]
    return (255 * fine).byte().permute(1, 2, 0).contiguous().numpy()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["flow_fp32", "unet_fp16"])
class TestOnGpu:
    size = (600, 768)

    @pytest.fixture(autouse=True)
    def without_face_networks(self, monkeypatch):
        pytest.importorskip("cupy")
        monkeypatch.setattr(fetfast.engine, "Landmarker", lambda: None)

    @pytest.fixture
    def on_gpu(self, name):
        if name not in ENGINES:
            ENGINES[name] = Engine(name, "triton")
        assert isinstance(ENGINES[name].place, Device)
        return ENGINES[name]

    def target(self, engine, seed, faces=1):
        found = [face(seed + i, self.size, middle) for i, middle in enumerate(np.linspace(0.3, 0.7, faces))]
        return Target.prepare(smooth(seed, self.size), found)

    def test_as_right_as_by_the_host(self, on_gpu, name):
        """Against f32: at most twice as far off as the same kernels' networks between the CPU's ops, or a tenth of a
        level, which is what f32 in another order rounds."""
        plan = on_gpu.plan
        weights = {key: np.asarray(weight, np.float32) for key, weight in plan.weights.items()}
        plain = Engine(replace(plan, precision="fp32", weights=weights), "eager", "cpu")
        for faces in (1, 3):
            before = self.target(plain, 7, faces).frame
            exact, host = (on_host(e, [(face(1), self.target(e, 7, faces), None)])[0] for e in (plain, on_gpu))
            got = on_gpu.render(face(1), self.target(on_gpu, 7, faces))
            changed = (exact != before).any(-1)
            assert changed.mean() > 0.02
            error, allowed = (np.abs(a[changed].astype(float) - exact[changed]).mean() for a in (got, host))
            assert error <= max(2 * allowed, 0.1)
            alone = ~changed & (host == before).all(-1)
            np.testing.assert_array_equal(got[alone], before[alone])

    def test_copies(self, on_gpu):
        still, moving = self.target(on_gpu, 0), [self.target(on_gpu, seed) for seed in (1, 2)]
        for target in (still, moving[0]):
            on_gpu.render(face(0), target)
        assert copies(lambda: on_gpu.render(face(1), still)) == (1, 1)
        assert copies(lambda: on_gpu.render(face(1), moving[1])) == (2, 1)

    def test_a_stream_of_frames(self, on_gpu):
        """Late results are those taken at once, bit for bit. After the first frames nobody asks for memory, but where
        one frame more than ever is under way."""
        still = self.target(on_gpu, 0)
        moving = [self.target(on_gpu, seed) for seed in range(1, 4)]

        def step(i):
            target = moving[i % 3] if i % 2 else still
            target.tensors.clear()  # as if it were new
            return on_gpu.begin(on_gpu.step("transfer", face(i % 6), target))

        wanted = [step(i)() for i in range(6)]
        late = []
        for i in range(240):
            late.append((i, step(i)))
            if len(late) == 3:
                first, take = late.pop(0)
                np.testing.assert_array_equal(take(), wanted[first % 6])
            if i == 60:
                asked = allocations()
        assert max(np.subtract(allocations(), asked)) <= 4

    def test_frames_in_one_thread_while_another_captures(self, on_gpu, name):
        target, failures = self.target(on_gpu, 0), []
        wanted = on_gpu.render(face(0), target)

        def load():
            try:
                for _ in range(2):
                    other = Engine(name, "triton")
                    np.testing.assert_array_equal(other.render(face(0), self.target(other, 0)), wanted)
            except BaseException as failure:
                failures.append(failure)

        thread = Thread(target=load)
        thread.start()
        while thread.is_alive():
            np.testing.assert_array_equal(on_gpu.render(face(0), target), wanted)
        assert not failures, failures[0]


ENGINES: dict[str, Engine] = {}  # kept from test to test: compiling them takes seconds


def copies(work):
    """Copies up and down, as CUDA counts them."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events()]
    assert any("crop" in name or "paste" in name for name in names), "the profiler saw no work"
    return tuple(sum(name.startswith(f"Memcpy {way}") for name in names) for way in ("HtoD", "DtoH"))


def allocations():
    """How often PyTorch has asked the driver for memory, on the device and pinned."""
    return torch.cuda.memory_stats()["num_device_alloc"], torch.cuda.host_memory_stats()["num_host_alloc"]
