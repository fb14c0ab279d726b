// contours: out(p) = max over segments of clamp(half_width + 0.5 - |p - segment|, 0, 1), in pixels.
#pragma once
#include "sample.h"

namespace fetfast {

struct Contours {
  float half_width;  // pixels
  int size;          // S
  char* out;         // f32 [S, S], zeroed
  long long out_row, out_column;  // bytes

  // Draws the segment from `a` to `b`, crop points; one that is not finite is no line. Only the pixels that it can
  // reach are visited.
  void line(Point a, Point b) const {
    const float n = float(size), reach = half_width + 1.0f;
    a = {a.x * n - 0.5f, a.y * n - 0.5f};
    b = {b.x * n - 0.5f, b.y * n - 0.5f};
    Point along = {b.x - a.x, b.y - a.y};
    float length2 = along.x * along.x + along.y * along.y;
    if (!(length2 < 1e30f && a.x * a.x + a.y * a.y < 1e30f)) return;
    float scale = length2 > 0.0f ? 1.0f / length2 : 0.0f;
    int x0 = first((a.x < b.x ? a.x : b.x) - reach), x1 = last((a.x > b.x ? a.x : b.x) + reach);
    int y0 = first((a.y < b.y ? a.y : b.y) - reach), y1 = last((a.y > b.y ? a.y : b.y) + reach);
    for (int y = y0; y <= y1; y++)
      for (int x = x0; x <= x1; x++) {
        Point p = {float(x) - a.x, float(y) - a.y};
        float t = clamp((p.x * along.x + p.y * along.y) * scale, 0.0f, 1.0f);
        p = {p.x - t * along.x, p.y - t * along.y};
        float value = clamp(half_width + 0.5f - __builtin_sqrtf(p.x * p.x + p.y * p.y), 0.0f, 1.0f);
        float& pixel = *(float*)(out + y * out_row + x * out_column);
        pixel = value > pixel ? value : pixel;
      }
  }

  int first(float v) const { return int(clamp(v, 0.0f, float(size))); }
  int last(float v) const { return int(clamp(v, -1.0f, float(size - 1))); }
};

}  // namespace fetfast
