"""Builds `fetfast._native`, the CPU form of the frame ops, from csrc/. Everything else stands in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import find_packages, setup

native = Pybind11Extension(
    "fetfast._native",
    ["csrc/bindings.cpp"],
    depends=sorted(map(str, Path("csrc").glob("*.h"))),
    cxx_std=17,
    extra_compile_args=["-O3"],
)

setup(
    ext_modules=[native],
    cmdclass={"build_ext": build_ext},
    packages=[*find_packages(include=["fetfast", "fetfast.*"]), "fetfast.kernels", "fetfast.csrc"],
)
