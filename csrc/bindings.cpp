// All bindings of fetfast._native, in one place: arguments are checked in Python (fetfast/ops), loops stand in the
// headers. Arrays have any strides; their dtypes are taken as they are, never converted.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "crop.h"
#include "parallel.h"

namespace py = pybind11;
using namespace fetfast;

using Bytes = py::array_t<unsigned char, 0>;
using Floats = py::array_t<float, 0>;

static Frame frame_of(const Bytes& a) {
  auto view = a.unchecked<3>();
  return {view.data(0, 0, 0), a.strides(0), a.strides(1), a.strides(2), int(a.shape(0)), int(a.shape(1))};
}

static Field field_of(const Floats& a) {
  auto view = a.unchecked<3>();
  return {reinterpret_cast<const char*>(view.data(0, 0, 0)), a.strides(0), a.strides(1), a.strides(2)};
}

static Affine affine_of(const Floats& M) {
  auto m = M.unchecked<2>();
  return {m(0, 0), m(0, 1), m(0, 2), m(1, 0), m(1, 1), m(1, 2)};
}

static void crop(const Bytes& frame, const Floats& M, int taps, const std::optional<Floats>& flow, Floats& out) {
  auto to = out.mutable_unchecked<3>();
  Crop op{frame_of(frame), affine_of(M), taps, {}, 0, int(out.shape(1)),
          reinterpret_cast<char*>(to.mutable_data(0, 0, 0)), out.strides(0), out.strides(1), out.strides(2)};
  if (flow) {
    op.flow = field_of(*flow);
    op.flow_size = int(flow->shape(1));
  }
  py::gil_scoped_release release;
  for_each_pixel(op, 0, op.size, 0, op.size);
}

PYBIND11_MODULE(_native, m) {
  m.doc() = "CPU form of fetfast's frame ops";
  m.def("set_threads", [](int n) { Pool::instance().set_threads(n); }, "How many threads one call may use.");
  m.def("threads", [] { return Pool::instance().threads(); });
  m.def("crop", &crop, py::arg("frame").noconvert(), py::arg("M").noconvert(), py::arg("taps"),
        py::arg("flow").noconvert().none(true), py::arg("out").noconvert());
}
