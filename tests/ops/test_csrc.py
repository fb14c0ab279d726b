"""The functors of csrc/ compile as CUDA too, with no header but their own."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"

KERNELS = """
#include "crop.h"
#include "paste.h"
extern "C" __global__ void crop(fetfast::Crop op) {
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  if (column < op.size && row < op.size) op(column, row);
}
extern "C" __global__ void paste(fetfast::Paste op) {
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  if (column < op.frame.width && row < op.frame.height) op(column, row);
}
"""


@pytest.mark.parametrize("name", ["sample.h", "crop.h", "paste.h"])
def test_functors_include_only_each_other(name):
    included = re.findall(r"#include (.*)", (CSRC / name).read_text())
    assert set(included) <= {'"sample.h"'}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvcc_compiles_the_functors(arch, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on this machine")
    (tmp_path / "ops.cu").write_text(KERNELS)
    command = [nvcc, "-std=c++17", f"-arch={arch}", "-Werror=all-warnings", "-Xptxas=-v", "-cubin", "-o", "ops.cubin"]
    run = subprocess.run([*command, "-I", str(CSRC), "ops.cu"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.findall(r"(\d+) bytes spill stores", run.stderr) == ["0", "0"]
