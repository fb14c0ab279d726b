// paste: at frame pixel p, with c = M^-1 p and w = feather(c),
//   q = M (c + w flow(c)),   m = w mask(c),   out = frame(q) + m (color(c) - frame(q)).
// Pixels outside of the crop are not touched: w is 0 there.
#pragma once
#include "sample.h"

namespace fetfast {

struct Paste {
  Frame frame;   // u8 [H, W, 3]
  Affine M;      // crop point (0 ... 1) -> frame point (pixels)
  Affine to_crop;  // its inverse
  float feather;   // share of the crop's side over which w rises from 0 to 1
  int size;        // S
  Field flow;      // f32 [2, S, S], crop sides
  Field mask;      // f32 [1, S, S], 0 ... 1; data null: none
  Field color;     // f32 [3, S, S], -1 ... 1; data null exactly where mask's is
  unsigned char* out;                          // u8 [H, W, 3]
  long long out_row, out_column, out_channel;  // bytes

  // 0 at the border, 1 inside: a smoothstep along each axis.
  FETFAST_HD float fade(float c) const {
    float t = clamp((c < 0.5f ? c : 1.0f - c) / feather, 0.0f, 1.0f);
    return t * t * (3.0f - 2.0f * t);
  }

  FETFAST_HD void operator()(int column, int row) const {
    Point p = {float(column) + 0.5f, float(row) + 0.5f};
    Point c = to_crop(p);
    float w = fade(c.x) * fade(c.y);
    if (!(w > 0.0f)) return;
    Between x(c.x * float(size), size), y(c.y * float(size), size);
    // M c is p itself: only the displacement is turned, so that no flow samples exactly at the pixel's centre.
    Point d = M.turn(Point{w * flow.bilinear(0, x, y), w * flow.bilinear(1, x, y)});
    Color result = frame.cubic(Point{p.x + d.x, p.y + d.y});
    if (mask.data) {
      float m = w * mask.bilinear(0, x, y);
      for (int k = 0; k < 3; k++) result[k] = lerp(result[k], 127.5f * color.bilinear(k, x, y) + 127.5f, m);
    }
    unsigned char* to = out + row * out_row + column * out_column;
    for (int k = 0; k < 3; k++) to[k * out_channel] = (unsigned char)clamp(result[k] + 0.5f, 0.0f, 255.0f);
  }
};

}  // namespace fetfast
