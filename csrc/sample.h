// What crop and paste share: a pixel's colour, a frame of any strides, an affine map, and how both are sampled.
// No include and no std here, so that g++, nvcc and NVRTC compile the same text.
// Coordinates are those of fetfast/spec.py: the pixel in row r and column c has its centre at (c + 0.5, r + 0.5).
#pragma once

#if defined(__CUDACC__)
#define FETFAST_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define FETFAST_HD inline __attribute__((always_inline))
#else
#define FETFAST_HD inline
#endif

namespace fetfast {

// Red, green, blue and one lane of no meaning: four fill a vector register. `color_at` reads one from bytes that are
// `channel` apart; `color_at_4` from four that lie together, which a CPU can load and widen at once.
#if defined(__GNUC__) && !defined(__CUDACC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
typedef float Color __attribute__((vector_size(16)));
typedef int Int4 __attribute__((vector_size(16)));
typedef short Short8 __attribute__((vector_size(16)));
typedef char Byte16 __attribute__((vector_size(16)));

FETFAST_HD Color color_at_4(const unsigned char* p) {
  int bytes;
  __builtin_memcpy(&bytes, p, 4);
  Byte16 b = (Byte16)Int4{bytes, 0, 0, 0};
  Short8 s = (Short8)__builtin_shufflevector(b, Byte16{}, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return __builtin_convertvector((Int4)__builtin_shufflevector(s, Short8{}, 0, 8, 1, 9, 2, 10, 3, 11), Color);
}
#else
struct Color {
  float lane[4];
  FETFAST_HD float& operator[](int i) { return lane[i]; }
  FETFAST_HD float operator[](int i) const { return lane[i]; }
};
FETFAST_HD Color operator+(Color a, Color b) {
  return {a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]};
}
FETFAST_HD Color operator-(Color a, Color b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]};
}
FETFAST_HD Color operator*(float s, Color a) { return {s * a[0], s * a[1], s * a[2], s * a[3]}; }
FETFAST_HD Color color_at_4(const unsigned char* p) { return {float(p[0]), float(p[1]), float(p[2]), 0.0f}; }
#endif

FETFAST_HD Color color_at(const unsigned char* p, long long channel) {
  return Color{float(p[0]), float(p[channel]), float(p[2 * channel]), 0.0f};
}

struct Point {
  float x, y;
};

// Row-major [2, 3]: p -> (xx xy; yx yy) p + (x0, y0).
struct Affine {
  float xx, xy, x0, yx, yy, y0;
  FETFAST_HD Point operator()(Point p) const { return {xx * p.x + xy * p.y + x0, yx * p.x + yy * p.y + y0}; }
  FETFAST_HD Point turn(Point v) const { return {xx * v.x + xy * v.y, yx * v.x + yy * v.y}; }  // no translation
};

// A NaN becomes `low`: an index computed from the result is always inside.
FETFAST_HD float clamp(float v, float low, float high) {
  v = v > low ? v : low;
  return v < high ? v : high;
}

template <class T>
FETFAST_HD T lerp(T a, T b, float t) {
  return a + t * (b - a);
}

// The coordinate x in 0 ... n as one of pixels, where pixel i has its centre at i; outside, the border repeats.
FETFAST_HD float inside(float x, int n) { return clamp(x - 0.5f, 0.0f, float(n - 1)); }

// Two neighbours of such a coordinate: it lies at t between them.
struct Two {
  int low, high;
  float t;
  FETFAST_HD Two(float x, int n) {
    low = int(x);
    high = low + (low < n - 1);
    t = x - float(low);
  }
};

// Four neighbours, and their Catmull-Rom weights; at a pixel's centre its weight is exactly 1.
struct Four {
  int at[4];
  float weight[4];
  FETFAST_HD Four(float x, int n) {
    Two two(x, n);
    float t = two.t;
    at[0] = two.low - (two.low > 0);
    at[1] = two.low;
    at[2] = two.high;
    at[3] = two.high + (two.high < n - 1);
    weight[0] = t * (-0.5f + t * (1.0f - 0.5f * t));
    weight[1] = 1.0f + t * t * (-2.5f + 1.5f * t);
    weight[2] = t * (0.5f + t * (2.0f - 1.5f * t));
    weight[3] = t * t * (-0.5f + 0.5f * t);
  }
};

// u8 [height, width, 3]; strides in bytes.
struct Frame {
  const unsigned char* data;
  long long row, column, channel;
  int height, width;

  FETFAST_HD Point inside(Point p) const { return {fetfast::inside(p.x, width), fetfast::inside(p.y, height)}; }

  // The colour at a point that `inside` gave.
  FETFAST_HD Color bilinear(Point p) const {
    Two x(p.x, width), y(p.y, height);
    return byte_follows(x.high) ? bilinear<true>(x, y) : bilinear<false>(x, y);
  }

  FETFAST_HD Color cubic(Point p) const {
    Four x(p.x, width), y(p.y, height);
    return byte_follows(x.at[3]) ? cubic<true>(x, y) : cubic<false>(x, y);
  }

  // Whether each pixel up to column x is three bytes that lie together and a fourth that is the frame's too.
  FETFAST_HD bool byte_follows(int x) const { return channel == 1 && column >= 3 && x + 1 < width; }

  template <bool Wide>
  FETFAST_HD Color at(const unsigned char* line, int x) const {
    return Wide ? color_at_4(line + x * column) : color_at(line + x * column, channel);
  }

  template <bool Wide>
  FETFAST_HD Color bilinear(Two x, Two y) const {
    const unsigned char *top = data + y.low * row, *bottom = data + y.high * row;
    return lerp(lerp(at<Wide>(top, x.low), at<Wide>(top, x.high), x.t),
                lerp(at<Wide>(bottom, x.low), at<Wide>(bottom, x.high), x.t), y.t);
  }

  template <bool Wide>
  FETFAST_HD Color cubic(const Four& x, const Four& y) const {
    Color sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < 4; i++) {
      const unsigned char* line = data + y.at[i] * row;
      sum = sum + y.weight[i] * (x.weight[0] * at<Wide>(line, x.at[0]) + x.weight[1] * at<Wide>(line, x.at[1]) +
                                 x.weight[2] * at<Wide>(line, x.at[2]) + x.weight[3] * at<Wide>(line, x.at[3]));
    }
    return sum;
  }
};

// f32 [channels, size, size]; strides in bytes. A NaN counts as 0.
struct Field {
  const char* data;  // null: there is none
  long long channel, row, column;

  FETFAST_HD float at(int c, int y, int x) const {
    float v = *(const float*)(data + c * channel + y * row + x * column);
    return v == v ? v : 0.0f;
  }
};

// Bilinear between what `cell(y, x)` gives.
template <class Cell>
FETFAST_HD auto between(Two x, Two y, const Cell& cell) {
  return lerp(lerp(cell(y.low, x.low), cell(y.low, x.high), x.t), lerp(cell(y.high, x.low), cell(y.high, x.high), x.t),
              y.t);
}

}  // namespace fetfast
