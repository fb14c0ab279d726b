"""The source of crop's and paste's kernels, built for the processor: a call for each thread."""

import ctypes
import subprocess
import tempfile
from functools import cache
from itertools import product
from pathlib import Path

from fetfast.kernels import frame as kernel

SHIM = """
#define __global__
#define __launch_bounds__(n)
struct Index { int x, y, z; };
static Index blockIdx, blockDim, threadIdx, gridDim;
#line 1 "frame.cu"
%s
extern "C" void at(int bx, int by, int bz, int dx, int dy, int tx, int ty, int gx) {
  blockIdx = {bx, by, bz}, blockDim = {dx, dy}, threadIdx = {tx, ty}, gridDim = {gx, 1, 1};
}
"""
CTYPES = {"int32": ctypes.c_int, "int64": ctypes.c_longlong, "float32": ctypes.c_float}


@cache
def library(headers):
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "frame.cpp", Path(folder) / "frame.so"
        source.write_text(SHIM % kernel.source(headers))
        subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", built, source], check=True)
        return ctypes.CDLL(str(built))


def launch(name, headers, grid, arguments, device):
    """Stands in for `kernels.frame.launch`."""
    function = getattr(library(headers), name)
    function.argtypes = [CTYPES[a.dtype.name] for a in arguments]
    given = [a.item() for a in arguments]
    width, height = kernel.BLOCK if name == "crop" else (4, 1)
    gx, gy, gz = (*(grid if name == "crop" else (3,)), 1, 1)[:3]  # few enough that each goes on to more pixels
    for bx, by, bz in product(range(gx), range(gy), range(gz)):
        for t in range(width * height):
            library(headers).at(bx, by, bz, width, height, t % width, t // width, gx)
            function(*given)
