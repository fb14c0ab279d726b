// crop: out(u) = mean over n x n points v of pixel u of frame(M (v + flow(u))), from u8 0 ... 255 to -1 ... 1.
#pragma once
#include "sample.h"

namespace fetfast {

struct Crop {
  Frame frame;    // u8 [H, W, 3]
  Affine M;       // crop point (0 ... 1) -> frame point (pixels)
  int taps;       // n: bilinear samples along each side of an output pixel
  Field flow;     // f32 [2, F, F], crop sides, or none
  int flow_size;  // F
  int size;       // S
  char* out;      // f32 [3, S, S]
  long long out_channel, out_row, out_column;  // bytes

  // The top left corner of an output pixel, moved by the flow at the pixel's centre; crop units.
  FETFAST_HD Point corner(int column, int row) const {
    const float side = 1.0f / float(size);
    Point c = {float(column) * side, float(row) * side};
    if (flow.data) {
      Two x(inside((c.x + 0.5f * side) * float(flow_size), flow_size), flow_size);
      Two y(inside((c.y + 0.5f * side) * float(flow_size), flow_size), flow_size);
      c.x += between(x, y, [&](int i, int j) { return flow.at(0, i, j); });
      c.y += between(x, y, [&](int i, int j) { return flow.at(1, i, j); });
    }
    return c;
  }

  // Where its sample in row i, column j lies in the frame.
  FETFAST_HD Point tap(Point corner, int i, int j) const {
    const float step = 1.0f / float(size * taps);
    return frame.inside(M(Point{corner.x + (float(j) + 0.5f) * step, corner.y + (float(i) + 0.5f) * step}));
  }

  FETFAST_HD void store(int column, int row, Color sum) const {
    const float scale = 1.0f / (127.5f * float(taps * taps));
    char* to = out + row * out_row + column * out_column;
    for (int c = 0; c < 3; c++) *(float*)(to + c * out_channel) = sum[c] * scale - 1.0f;
  }

  FETFAST_HD void operator()(int column, int row) const {
    const Point at = corner(column, row);
    Color sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < taps; i++)
      for (int j = 0; j < taps; j++) sum = sum + frame.bilinear(tap(at, i, j));
    store(column, row, sum);
  }
};

}  // namespace fetfast
