// The CPU's way over an image: the steps of an op, each for a stretch of pixels before the next step begins. What is
// arithmetic only, the compiler then turns into vector instructions; what reads pixels has many reads under way at once.
#pragma once
#include "crop.h"
#include "paste.h"

// One more copy of a loop for processors with AVX2 and FMA, chosen when the module is loaded.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FETFAST_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FETFAST_CLONES
#endif

namespace fetfast {

constexpr int STRETCH = 64;

FETFAST_CLONES inline void crop_rows(const Crop& op, int begin, int end) {
  float corner_x[STRETCH], corner_y[STRETCH], x[STRETCH], y[STRETCH];
  Color sum[STRETCH];
  for (int row = begin; row < end; row++)
    for (int first = 0; first < op.size; first += STRETCH) {
      const int n = op.size - first < STRETCH ? op.size - first : STRETCH;
      for (int k = 0; k < n; k++) {
        Point c = op.corner(first + k, row);
        corner_x[k] = c.x;
        corner_y[k] = c.y;
        sum[k] = Color{};
      }
      for (int i = 0; i < op.taps; i++)
        for (int j = 0; j < op.taps; j++) {
          for (int k = 0; k < n; k++) {
            Point p = op.tap(Point{corner_x[k], corner_y[k]}, i, j);
            x[k] = p.x;
            y[k] = p.y;
          }
          for (int k = 0; k < n; k++) sum[k] = sum[k] + op.frame.bilinear(Point{x[k], y[k]});
        }
      for (int k = 0; k < n; k++) op.store(first + k, row, sum[k]);
    }
}

// `cells` holds op.cell(y, x) for every y, x.
FETFAST_CLONES inline void paste_rows(const Paste& op, const Change* cells, int x0, int x1, int begin, int end) {
  float x[STRETCH], y[STRETCH], w[STRETCH];
  Change changes[STRETCH];
  for (int row = begin; row < end; row++)
    for (int first = x0; first < x1; first += STRETCH) {
      const int n = x1 - first < STRETCH ? x1 - first : STRETCH;
      for (int k = 0; k < n; k++) {
        Paste::Place at = op.place(first + k, row);
        x[k] = at.x;
        y[k] = at.y;
        w[k] = at.w;
      }
      for (int k = 0; k < n; k++) {
        changes[k] = between(Two(x[k], op.size), Two(y[k], op.size),
                             [&](int i, int j) -> const Change& { return cells[i * op.size + j]; });
        Point q = op.source(first + k, row, w[k], changes[k].move);
        x[k] = q.x;
        y[k] = q.y;
      }
      for (int k = 0; k < n; k++)
        if (w[k] > 0.0f) op.store(first + k, row, op.changed(op.frame.cubic(Point{x[k], y[k]}), w[k], changes[k]));
    }
}

}  // namespace fetfast
