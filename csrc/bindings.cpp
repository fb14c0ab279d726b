// All bindings of fetfast._native, in one place: checks stand in Python (fetfast/ops), loops in the headers.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_native, m) { m.doc() = "CPU form of fetfast's frame ops"; }
