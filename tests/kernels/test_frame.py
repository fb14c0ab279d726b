"""The CUDA form of crop and paste: compiled for every architecture; its arguments, through a host build of the same
source; and on a GPU, the thing itself."""

import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import edges
import hostframe
import numpy as np
import pytest
import torch
from fetfast.kernels import frame as kernel

from fetfast.errors import BadInput
from fetfast.ops import frame_gpu
from fetfast.ops.crop import crop, crops
from fetfast.ops.paste import composite, paste
from fetfast.ops.placement import placements

CASES = [*edges.crops(), *edges.pastes()]

M = np.array([[31.0, -4.0, 9.5], [5.0, 29.0, -3.25]], np.float32)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no nvcc here")
@pytest.mark.parametrize("capability", [80, 86, 89, 90, 100, 120])
def test_compiles_without_spills(capability, tmp_path):
    source = tmp_path / "frame.cu"
    source.write_text(kernel.source(frame_gpu.headers()))
    run = subprocess.run(
        ["nvcc", "-std=c++17", "-cubin", f"-arch=sm_{capability}", "-Xptxas", "-v",
         "-o", tmp_path / "frame.cubin", source],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", run.stderr) == [("0", "0")] * 2
    assert all(int(n) <= 128 for n in re.findall(r"Used (\d+) registers", run.stderr))


def test_what_is_compiled_depends_on_nothing_but_its_text(tmp_path):
    """CuPy keeps binaries by it: a header that changes must change it, and no other file may be read."""
    assert "#include" not in kernel.source(frame_gpu.headers())
    for header in Path(frame_gpu.headers()).glob("*.h"):
        (tmp_path / header.name).write_text(header.read_text().replace("0.5f", "0.25f"))
    assert kernel.source(str(tmp_path)) != kernel.source(frame_gpu.headers())


def test_launches_go_onto_pytorch_s_current_stream(monkeypatch):
    """By CuPy 14's names: it warns of those before."""
    entered, launched = [], []

    class Device(nullcontext):
        pass

    class Stream(nullcontext):
        @classmethod
        def from_external(cls, stream):
            entered.append(stream.__cuda_stream__())
            return cls()

    def module(code, options):
        assert "struct Crop" in code and not any("-I" in option for option in options)
        return SimpleNamespace(get_function=lambda name: lambda *launch: launched.append((name, *launch)))

    cupy = SimpleNamespace(cuda=SimpleNamespace(Device=Device, Stream=Stream), RawModule=module)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    current = SimpleNamespace(__cuda_stream__=lambda: (0, 77))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    kernel.compiled.cache_clear()
    kernel.launch("crop", frame_gpu.headers(), (2, 1, 3), (1, 2), 0)
    kernel.compiled.cache_clear()
    assert entered == [(0, 77)] and launched == [("crop", (2, 1, 3), kernel.BLOCK, (1, 2))]


@pytest.fixture
def place(monkeypatch):
    """Where the tensors are: a GPU if there is one, else the host build stands in for it."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    monkeypatch.setattr(kernel, "launch", hostframe.launch)
    return torch.device("cpu")


def arrays(S=24):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (37, 45, 3), np.uint8)
    flow = rng.normal(0, 0.05, (2, S, S)).astype(np.float32)
    mask, color = rng.random((1, S, S), np.float32), rng.random((3, S, S), np.float32) * 2 - 1
    return frame, flow, mask, color, rng.uniform(-0.5, 0.5, (1, S, S)).astype(np.float32)


@pytest.mark.parametrize("with_flow", [True, False])
def test_crop_takes_any_strides(with_flow, place):
    frame, flow, *_ = arrays()
    wanted = crop(frame, M, 20, flow if with_flow else None)
    out = torch.full((20, 20, 4), 9.0, device=place)  # NHWC with a channel to spare, in one buffer
    got = crop(torch.from_numpy(frame).to(place), M, 20, torch.from_numpy(flow).to(place) if with_flow else None,
               out[..., :3].permute(2, 0, 1))  # fmt: skip
    np.testing.assert_allclose(got.cpu().numpy(), wanted, atol=1e-4)
    assert (out[..., 3] == 9).all()
    turned = torch.from_numpy(np.ascontiguousarray(frame.transpose(1, 0, 2))).to(place).transpose(0, 1)
    np.testing.assert_allclose(crop(turned, M, 8).cpu().numpy(), crop(frame, M, 8), atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_cpu_form(case, place):
    got, wanted = case.ours(*case.tensors(place)).cpu().numpy(), case.ours(*case.data)
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    if got.dtype == np.float32:
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    else:
        difference = np.abs(got.astype(int) - wanted)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # half-way values may round either way


def test_paste_of_nothing_gives_the_frame_bit_for_bit(place):
    frame, flow, mask, color, light = (torch.from_numpy(a).to(place) for a in arrays())
    assert torch.equal(paste(frame, M, flow * 0, mask * 0, color), frame)
    assert torch.equal(paste(frame, M, flow * 0, mask * 0, color, light=light * 0), frame)
    away = np.array([[30, 0, 500], [0, 30, 500]], np.float32)  # the crop is off the frame
    assert torch.equal(paste(frame, away, flow, mask, color), frame)


def turned(angle, scale, x, y):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]], np.float32)


FACES = np.stack([M, turned(0.4, 11, 14.5, 2), turned(-0.7, 60, -9, 30)])  # the second lies in the first


def test_faces_and_frames_by_what_lies_in_device_memory(place):
    """As a CUDA graph calls it: the same launches for whatever frame the numbers tell of."""
    rng = np.random.default_rng(1)
    flow = torch.from_numpy(rng.normal(0, 0.05, (3, 2, 24, 24)).astype(np.float32)).to(place)
    places, told = torch.zeros(3, 16, device=place), torch.zeros(3, 6, dtype=torch.int64, device=place)
    crops_out = torch.empty(3, 3, 20, 20, device=place)
    for size, faces in (((37, 45), FACES), ((64, 32), FACES[::-1]), ((5, 7), FACES)):
        frame = rng.integers(0, 256, (*size, 3), np.uint8)
        there, *turns = (torch.from_numpy(f).to(place) for f in (frame, frame * 0, frame * 0))
        places.copy_(torch.from_numpy(placements(faces)))
        told.copy_(torch.tensor([frame_gpu.words(f) for f in (there, *turns)]))
        crops(told[0], places, 20, flow, crops_out)
        np.testing.assert_allclose(crops_out.cpu(), crops(frame, placements(faces), 20, flow.cpu().numpy()), atol=1e-4)
        composite(told[0], places, {"flow": flow}, told[1:])
        wanted = composite(frame, placements(faces), {"flow": flow.cpu().numpy()})
        off = np.abs(turns[0].cpu().numpy().astype(int) - wanted)  # three faces: the first of both again
        assert off.max() <= 1 and (off > 0).mean() < 0.01
        one, out = (torch.from_numpy(f).to(place) for f in (frame, np.zeros_like(frame)))
        assert composite(one, places, {"flow": flow}, out) is out and torch.equal(out, turns[0])


@pytest.mark.parametrize("pitch", [0.9, 1.0, 1.0005, 1.5, 2.0, 7.99, 30])
def test_as_many_taps_as_on_the_processor(pitch, place):
    frame = np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8)
    M = turned(0.3, 8 * pitch, 5, 5)
    got = crop(torch.from_numpy(frame).to(place), M, 8)
    np.testing.assert_allclose(got.cpu().numpy(), crop(frame, M, 8), atol=1e-4)


def test_bad_inputs_are_named(place):
    frame, flow, mask, *_ = (torch.from_numpy(a).to(place) for a in arrays())
    with pytest.raises(BadInput, match=r"crop\(\): flow is float32 \[1, 24, 24\].*expected float32 \[2, F, F\]"):
        crop(frame, M, 8, mask)
    with pytest.raises(BadInput, match="expected both or neither"):
        paste(frame, M, flow, mask)
    with pytest.raises(BadInput, match=r"light is float32 \[2, 24, 24\].*expected float32 \[1, 24, 24\]"):
        paste(frame, M, flow, light=flow)
    with pytest.raises(BadInput, match="out shares the frame's memory"):
        paste(frame, M, flow, out=frame)


def test_a_tensor_on_the_cpu_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    frame, flow, *_ = (torch.from_numpy(a) for a in arrays())
    for call in (lambda: crop(frame, M, 8), lambda: paste(frame, M, flow)):
        with pytest.raises(BadInput, match="is a tensor on cpu, expected one on cuda, or a NumPy array"):
            call()
