// Pooling: windows over positions, channels side by side in vectors.
//
// Memory bound: x and y, or x, y, dy and dx, once where windows do not overlap. Nothing is rounded but sums and the
// factor.
#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

// one(part, x, y): the channels of `part` of a window that begins at x[..] and y[..].
template <class T, class One> BP_INLINE void each_window(Pool<T> p, One one) {
  each_vector<T>(p.n, [&](auto part) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < p.m; ++i) one(part, i * p.x_row, i * p.n);
  });
}

// tap(at, first): of one window, in the order of rows and columns; of kSide each, or of any number (0).
template <int kSide, class T, class Tap> BP_INLINE void each_tap(const Pool<T>& p, std::int64_t at, Tap tap) {
  if constexpr (kSide > 0) {
    BP_UNROLL(8)
    for (int r = 0; r < kSide; ++r) {
      BP_UNROLL(8)
      for (int s = 0; s < kSide; ++s) tap(at + r * p.row_step + s * p.step, r + s == 0);
    }
  } else {
    for (std::int64_t r = 0; r < p.rows; ++r, at += p.row_step) {
      for (std::int64_t s = 0; s < p.columns; ++s) tap(at + s * p.step, r + s == 0);
    }
  }
}

// Windows of 2 x 2 without loops, which would take as long as what is in them.
constexpr int kOften = 2;
template <class T> BP_INLINE bool often(const Pool<T>& p) { return p.rows == kOften && p.columns == kOften; }

template <class T, int kSide> static void most(const Pool<T>& p, T* y) {
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    Vec<T> most;
    each_tap<kSide>(p, x_at, [&](std::int64_t at, bool first) __attribute__((always_inline)) {
      const Vec<T> value = part.load(p.x + at);
      most = first ? value : select(most != most, most, max(most, value));  // NaN stays
    });
    part.store(y + y_at, most);
  });
}
template <class T> static void pool_most(const Pool<T>& of, T* y) {
  const Pool<T> p = of;  // a copy, whose numbers no store can change
  often(p) ? most<T, kOften>(p, y) : most<T, 0>(p, y);
}

template <class T, int kSide> static void mean(const Pool<T>& p, T* y) {
  const Vec<T> factor(p.factor);
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    Vec<T> sum;
    each_tap<kSide>(p, x_at, [&](std::int64_t at, bool first) __attribute__((always_inline)) {
      sum = first ? part.load(p.x + at) : sum + part.load(p.x + at);
    });
    part.store(y + y_at, factor * sum);
  });
}
template <class T> static void pool_mean(const Pool<T>& of, T* y) {
  const Pool<T> p = of;
  often(p) ? mean<T, kOften>(p, y) : mean<T, 0>(p, y);
}

// What is stored is not read back where windows do not overlap: neighbours of few channels share a vector's place, and
// a load would wait for the store before it.
template <class T, int kSide, bool kAdds> static void most_back(const Pool<T>& p, const T* dy, T* dx) {
  const Vec<T> zero(T(0));
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const Vec<T> most = part.load(p.y + y_at);
    Vec<T> left = part.load(dy + y_at);
    each_tap<kSide>(p, x_at, [&](std::int64_t at, bool) __attribute__((always_inline)) {
      const IntVec<T> takes = part.load(p.x + at) == most;
      const Vec<T> share = select(takes, left, zero);
      part.store(dx + at, kAdds ? part.load(dx + at) + share : share);
      left = select(takes, zero, left);
    });
  });
}
template <class T> static void pool_most_back(const Pool<T>& of, const T* dy, T* dx) {
  const Pool<T> p = of;
  if (p.add) return most_back<T, 0, true>(p, dy, dx);
  often(p) ? most_back<T, kOften, false>(p, dy, dx) : most_back<T, 0, false>(p, dy, dx);
}

template <class T, int kSide, bool kAdds> static void mean_back(const Pool<T>& p, const T* dy, T* dx) {
  const Vec<T> factor(p.factor);
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const Vec<T> share = factor * part.load(dy + y_at);
    each_tap<kSide>(p, x_at, [&](std::int64_t at, bool) __attribute__((always_inline)) {
      part.store(dx + at, kAdds ? part.load(dx + at) + share : share);
    });
  });
}
template <class T> static void pool_mean_back(const Pool<T>& of, const T* dy, T* dx) {
  const Pool<T> p = of;
  if (p.add) return mean_back<T, 0, true>(p, dy, dx);
  often(p) ? mean_back<T, kOften, false>(p, dy, dx) : mean_back<T, 0, false>(p, dy, dx);
}

template <class T> void fill_pooling(Kernels<T>& table) {
  table.pool_most = pool_most<T>;
  table.pool_mean = pool_mean<T>;
  table.pool_most_back = pool_most_back<T>;
  table.pool_mean_back = pool_mean_back<T>;
}

template void fill_pooling(Kernels<float>&);
template void fill_pooling(Kernels<double>&);

}  // namespace bp::BP_TIER
