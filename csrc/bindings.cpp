// All bindings of fetfast._native, in one place: arguments are checked in Python (fetfast/ops), loops stand in the
// headers. Arrays have any strides; their dtypes are taken as they are, never converted.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "contours.h"
#include "parallel.h"
#include "rows.h"

namespace py = pybind11;
using namespace fetfast;

using Bytes = py::array_t<unsigned char, 0>;
using Floats = py::array_t<float, 0>;

constexpr int GRAIN = 8;  // rows that a thread takes at a time

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
  Pool::instance().run(op.size, GRAIN, [&](int begin, int end) { crop_rows(op, begin, end); });
}

// Columns x0 ... x1 of rows y0 ... y1 of `frame` hold the crop; `out` holds a copy of the frame there already.
static void paste(const Bytes& frame, const Floats& M, const Floats& to_crop, float feather, const Floats& flow,
                  const std::optional<Floats>& mask, const std::optional<Floats>& color,
                  const std::optional<Floats>& light, Bytes& out, int x0, int x1, int y0, int y1) {
  auto to = out.mutable_unchecked<3>();
  Paste op{frame_of(frame), affine_of(M), affine_of(to_crop), feather, int(flow.shape(1)), field_of(flow), {}, {}, {},
           to.mutable_data(0, 0, 0), out.strides(0), out.strides(1), out.strides(2)};
  if (mask) {
    op.mask = field_of(*mask);
    op.color = field_of(*color);
  }
  if (light) op.light = field_of(*light);
  py::gil_scoped_release release;
  thread_local std::vector<Change> cells;  // kept: a stream allocates once
  cells.resize(size_t(op.size) * op.size);
  Change* to_cells = cells.data();
  Pool::instance().run(op.size, GRAIN, [&](int begin, int end) {
    for (int y = begin; y < end; y++)
      for (int x = 0; x < op.size; x++) to_cells[y * op.size + x] = op.cell(y, x);
  });
  Pool::instance().run(y1 - y0, GRAIN,
                       [&](int begin, int end) { paste_rows(op, to_cells, x0, x1, y0 + begin, y0 + end); });
}

// Every index in `edges` is below K.
static void contours(const Floats& points, const py::array_t<int, 0>& edges, float half_width, Floats& out) {
  auto point = points.unchecked<3>();
  auto edge = edges.unchecked<2>();
  auto to = out.mutable_unchecked<4>();
  py::gil_scoped_release release;
  for (py::ssize_t b = 0; b < point.shape(0); b++) {
    for (py::ssize_t y = 0; y < to.shape(2); y++)
      for (py::ssize_t x = 0; x < to.shape(3); x++) to(b, 0, y, x) = 0.0f;
    Contours op{half_width, int(to.shape(3)), reinterpret_cast<char*>(to.mutable_data(b, 0, 0, 0)), out.strides(2),
                out.strides(3)};
    for (py::ssize_t e = 0; e < edge.shape(0); e++)
      op.line({point(b, edge(e, 0), 0), point(b, edge(e, 0), 1)}, {point(b, edge(e, 1), 0), point(b, edge(e, 1), 1)});
  }
}

PYBIND11_MODULE(_native, m) {
  m.doc() = "CPU form of fetfast's frame ops";
  m.def("set_threads", [](int n) { Pool::instance().set_threads(n); }, "How many threads one call may use.");
  m.def("threads", [] { return Pool::instance().threads(); });
  m.def("crop", &crop, py::arg("frame").noconvert(), py::arg("M").noconvert(), py::arg("taps"),
        py::arg("flow").noconvert().none(true), py::arg("out").noconvert());
  m.def("paste", &paste, py::arg("frame").noconvert(), py::arg("M").noconvert(), py::arg("to_crop").noconvert(),
        py::arg("feather"), py::arg("flow").noconvert(), py::arg("mask").noconvert().none(true),
        py::arg("color").noconvert().none(true), py::arg("light").noconvert().none(true), py::arg("out").noconvert(),
        py::arg("x0"), py::arg("x1"), py::arg("y0"), py::arg("y1"));
  m.def("contours", &contours, py::arg("points").noconvert(), py::arg("edges").noconvert(), py::arg("half_width"),
        py::arg("out").noconvert());
}
