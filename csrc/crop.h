// crop: out(u) = mean over n x n points v of pixel u of frame(M (v + flow(u))), from u8 0 ... 255 to -1 ... 1.
#pragma once
#include "sample.h"

namespace fetfast {

struct Crop {
  Frame frame;      // u8 [H, W, 3]
  Affine M;         // crop point (0 ... 1) -> frame point (pixels)
  int taps;         // n: bilinear samples along each side of an output pixel
  Field flow;       // f32 [2, flow_size, flow_size], crop sides; data null: none
  int flow_size;
  int size;         // S
  char* out;        // f32 [3, S, S]
  long long out_channel, out_row, out_column;  // bytes

  FETFAST_HD void operator()(int column, int row) const {
    const float side = 1.0f / float(size);
    Point corner = {float(column) * side, float(row) * side};
    if (flow.data) {
      Between x((corner.x + 0.5f * side) * float(flow_size), flow_size);
      Between y((corner.y + 0.5f * side) * float(flow_size), flow_size);
      corner.x += flow.bilinear(0, x, y);
      corner.y += flow.bilinear(1, x, y);
    }
    const float step = side / float(taps);
    Color sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < taps; i++)
      for (int j = 0; j < taps; j++)
        sum = sum + frame.bilinear(M(Point{corner.x + (float(j) + 0.5f) * step, corner.y + (float(i) + 0.5f) * step}));
    const float scale = 1.0f / (127.5f * float(taps * taps));
    char* to = out + row * out_row + column * out_column;
    for (int c = 0; c < 3; c++) *(float*)(to + c * out_channel) = sum[c] * scale - 1.0f;
  }
};

}  // namespace fetfast
