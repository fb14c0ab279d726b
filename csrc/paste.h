// paste: at frame pixel p, with c = M^-1 p and w = fade(c.x) fade(c.y),
//   q = M (c + w flow(c)),   g = 1 + w light(c),   m = w mask(c),   out = g frame(q) + m (color(c) - g frame(q)).
// Pixels outside of the crop are not touched: w is 0 there.
#pragma once
#include "sample.h"

namespace fetfast {

// What the network says at one cell of its tensors, or between cells.
struct Change {
  Color move;   // displacement x, y in frame pixels; mask; light
  Color color;  // 0 ... 255
};
FETFAST_HD Change lerp(const Change& a, const Change& b, float t) {
  return {lerp(a.move, b.move, t), lerp(a.color, b.color, t)};
}

struct Paste {
  Frame frame;     // u8 [H, W, 3]
  Affine M;        // crop point (0 ... 1) -> frame point (pixels)
  Affine to_crop;  // its inverse
  float feather;   // share of the crop's side over which w rises from 0 to 1
  int size;        // S
  Field flow;      // f32 [2, S, S], crop sides
  Field mask;      // f32 [1, S, S], 0 ... 1, or none
  Field color;     // f32 [3, S, S], -1 ... 1; none exactly where there is no mask
  Field light;     // f32 [1, S, S], or none
  unsigned char* out;                          // u8 [H, W, 3]
  long long out_row, out_column, out_channel;  // bytes

  FETFAST_HD float fade(float c) const {
    float t = clamp((c < 0.5f ? c : 1.0f - c) / feather, 0.0f, 1.0f);
    return t * t * (3.0f - 2.0f * t);
  }

  // A pixel in the crop: its place among the tensors' cells, and w.
  struct Place {
    float x, y, w;
  };
  FETFAST_HD Place place(int column, int row) const {
    Point c = to_crop(Point{float(column) + 0.5f, float(row) + 0.5f});
    return {inside(c.x * float(size), size), inside(c.y * float(size), size), fade(c.x) * fade(c.y)};
  }

  FETFAST_HD Change cell(int y, int x) const {
    Point d = M.turn(Point{flow.at(0, y, x), flow.at(1, y, x)});
    float gain = light.data ? light.at(0, y, x) : 0.0f;
    if (!mask.data) return {Color{d.x, d.y, 0.0f, gain}, Color{}};
    return {Color{d.x, d.y, mask.at(0, y, x), gain},
            Color{127.5f * color.at(0, y, x) + 127.5f, 127.5f * color.at(1, y, x) + 127.5f,
                  127.5f * color.at(2, y, x) + 127.5f, 0.0f}};
  }

  // M c is the pixel itself: only the displacement is added, so that no flow samples exactly at the pixel's centre.
  FETFAST_HD Point source(int column, int row, float w, Color move) const {
    return frame.inside(Point{float(column) + 0.5f + w * move[0], float(row) + 0.5f + w * move[1]});
  }

  // The pixel's new colour, where `warped` is what the frame shows at its source.
  FETFAST_HD Color changed(Color warped, float w, const Change& change) const {
    if (light.data) warped = (1.0f + w * change.move[3]) * warped;
    return lerp(warped, change.color, w * change.move[2]);
  }

  FETFAST_HD void store(int column, int row, Color result) const {
    unsigned char* to = out + row * out_row + column * out_column;
    for (int k = 0; k < 3; k++) to[k * out_channel] = (unsigned char)clamp(result[k] + 0.5f, 0.0f, 255.0f);
  }

  FETFAST_HD void operator()(int column, int row) const {
    Place at = place(column, row);
    if (!(at.w > 0.0f)) return;
    Change change = between(Two(at.x, size), Two(at.y, size), [&](int y, int x) { return cell(y, x); });
    Color warped = frame.cubic(source(column, row, at.w, change.move));
    store(column, row, changed(warped, at.w, change));
  }
};

}  // namespace fetfast
