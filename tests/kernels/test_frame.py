"""The CUDA form of crop and paste: compiled for every architecture; its arguments, through a host build of the same
source; and on a GPU, the thing itself."""

import ctypes
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import edges
import numpy as np
import pytest
import torch
from fetfast.kernels import frame as kernel

from fetfast.errors import BadInput
from fetfast.ops import frame_gpu
from fetfast.ops.crop import crop
from fetfast.ops.paste import paste

CASES = [*edges.crops(), *edges.pastes()]

M = np.array([[31.0, -4.0, 9.5], [5.0, 29.0, -3.25]], np.float32)
SHIM = """
#define __global__
#define __launch_bounds__(n)
struct Index { int x, y; };
static Index blockIdx, blockDim, threadIdx;
#line 1 "frame.cu"
%s
extern "C" void at(int bx, int by, int dx, int dy, int tx, int ty) {
  blockIdx = {bx, by}, blockDim = {dx, dy}, threadIdx = {tx, ty};
}
"""
CTYPES = {"int32": ctypes.c_int, "int64": ctypes.c_longlong, "float32": ctypes.c_float}


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
    kernel.launch("crop", frame_gpu.headers(), (33, 8), (1, 2), 0)
    kernel.compiled.cache_clear()
    assert entered == [(0, 77)] and launched == [("crop", (2, 1), kernel.BLOCK, (1, 2))]


@pytest.fixture(scope="module")
def host_kernels(tmp_path_factory):
    """The kernels' own source as a host library, a call for each thread."""
    folder = tmp_path_factory.mktemp("frame")
    (folder / "frame.cpp").write_text(SHIM % kernel.source(frame_gpu.headers()))
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", folder / "frame.so",
         folder / "frame.cpp"],
        check=True, capture_output=True,
    )  # fmt: skip
    library = ctypes.CDLL(str(folder / "frame.so"))

    def launch(name, headers, size, arguments, device):
        function = getattr(library, name)
        function.argtypes = [CTYPES[a.dtype.name] for a in arguments]
        for by in range(-(-size[1] // kernel.BLOCK[1])):
            for bx in range(-(-size[0] // kernel.BLOCK[0])):
                for t in range(kernel.BLOCK[0] * kernel.BLOCK[1]):
                    library.at(bx, by, *kernel.BLOCK, t % kernel.BLOCK[0], t // kernel.BLOCK[0])
                    function(*(a.item() for a in arguments))

    return launch


@pytest.fixture
def place(request, monkeypatch):
    """Where the tensors are: a GPU if there is one, else the host build stands in for it."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    monkeypatch.setattr(kernel, "launch", request.getfixturevalue("host_kernels"))
    monkeypatch.setattr(frame_gpu, "_check_frame", lambda op, frame: None)
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


def test_a_tensor_on_the_cpu_is_refused():
    frame, flow, *_ = (torch.from_numpy(a) for a in arrays())
    for call in (lambda: crop(frame, M, 8), lambda: paste(frame, M, flow)):
        with pytest.raises(BadInput, match="is a tensor on cpu, expected one on cuda, or a NumPy array"):
            call()
