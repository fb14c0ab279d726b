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

FETFAST_HD float or_zero(float v) { return v == v ? v : 0.0f; }

template <class T>
FETFAST_HD T lerp(T a, T b, float t) {
  return a + t * (b - a);
}

// One coordinate of a bilinear sample: between pixel `low` and pixel `high`, at `t`. Outside of 0 ... n the border
// pixel is repeated.
struct Between {
  int low, high;
  float t;
  FETFAST_HD Between(float x, int n) {
    x = clamp(x - 0.5f, 0.0f, float(n - 1));
    low = int(x);
    high = low + (low < n - 1);
    t = x - float(low);
  }
};

// One coordinate of a Catmull-Rom sample: four pixels, borders repeated. At a pixel's centre its weight is exactly 1.
struct Around {
  int at[4];
  float weight[4];
  FETFAST_HD Around(float x, int n) {
    Between b(x, n);
    float t = b.t;
    at[0] = b.low - (b.low > 0);
    at[1] = b.low;
    at[2] = b.high;
    at[3] = b.high + (b.high < n - 1);
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

  FETFAST_HD Color bilinear(Point p) const {
    Between x(p.x, width), y(p.y, height);
    return byte_follows(x.high) ? bilinear<true>(x, y) : bilinear<false>(x, y);
  }

  FETFAST_HD Color cubic(Point p) const {
    Around x(p.x, width), y(p.y, height);
    return byte_follows(x.at[3]) ? cubic<true>(x, y) : cubic<false>(x, y);
  }

  // Whether each pixel up to column x is three bytes that lie together and a fourth that is the frame's too.
  FETFAST_HD bool byte_follows(int x) const { return channel == 1 && column >= 3 && x + 1 < width; }

  template <bool Four>
  FETFAST_HD Color at(const unsigned char* line, int x) const {
    return Four ? color_at_4(line + x * column) : color_at(line + x * column, channel);
  }

  template <bool Four>
  FETFAST_HD Color bilinear(Between x, Between y) const {
    const unsigned char *top = data + y.low * row, *bottom = data + y.high * row;
    return lerp(lerp(at<Four>(top, x.low), at<Four>(top, x.high), x.t),
                lerp(at<Four>(bottom, x.low), at<Four>(bottom, x.high), x.t), y.t);
  }

  template <bool Four>
  FETFAST_HD Color cubic(const Around& x, const Around& y) const {
    Color sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < 4; i++) {
      const unsigned char* line = data + y.at[i] * row;
      sum = sum + y.weight[i] * (x.weight[0] * at<Four>(line, x.at[0]) + x.weight[1] * at<Four>(line, x.at[1]) +
                                 x.weight[2] * at<Four>(line, x.at[2]) + x.weight[3] * at<Four>(line, x.at[3]));
    }
    return sum;
  }
};

// f32 [channels, size, size]; strides in bytes.
struct Field {
  const char* data;
  long long channel, row, column;

  FETFAST_HD float at(int c, int y, int x) const {
    return *(const float*)(data + c * channel + y * row + x * column);
  }

  FETFAST_HD float bilinear(int c, Between x, Between y) const {
    return or_zero(lerp(lerp(at(c, y.low, x.low), at(c, y.low, x.high), x.t),
                        lerp(at(c, y.high, x.low), at(c, y.high, x.high), x.t), y.t));
  }
};

}  // namespace fetfast
