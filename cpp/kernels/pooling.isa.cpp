// Pooling: windows over positions, channels side by side in vectors.
//
// Memory bound: x and y, or x, y, dy and dx, once where windows do not overlap. Nothing is rounded but sums and the
// factor.
#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

// one(part, x, y): the channels of `part` of a window that begins at x[..] and y[..].
template <class T, class One> BP_INLINE void each_window(Pool<T> p, One one) {
  for (std::int64_t i = 0; i < p.m; ++i) {
    each_vector<T>(p.n, [&](auto part) __attribute__((always_inline)) { one(part, i * p.x_row, i * p.n); });
  }
}

// tap(at, first): of one window, in the order of rows and columns.
template <class T, class Tap> BP_INLINE void each_tap(const Pool<T>& p, std::int64_t at, Tap tap) {
  for (std::int64_t r = 0; r < p.rows; ++r, at += p.row_step) {
    for (std::int64_t s = 0; s < p.columns; ++s) tap(at + s * p.step, r + s == 0);
  }
}

template <class T> static void pool_most(const Pool<T>& of, T* y) {
  const Pool<T> p = of;  // a copy, whose numbers no store can change
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    Vec<T> most;
    each_tap<T>(p, x_at, [&](std::int64_t at, bool first) __attribute__((always_inline)) {
      const Vec<T> value = part.load(p.x + at);
      most = first ? value : select((most > value) | (most != most), most, value);  // NaN stays
    });
    part.store(y + y_at, most);
  });
}

template <class T> static void pool_mean(const Pool<T>& of, T* y) {
  const Pool<T> p = of;
  const Vec<T> factor(p.factor);
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    Vec<T> sum;
    each_tap<T>(p, x_at, [&](std::int64_t at, bool first) __attribute__((always_inline)) {
      sum = first ? part.load(p.x + at) : sum + part.load(p.x + at);
    });
    part.store(y + y_at, factor * sum);
  });
}

// What is stored is not read back where windows do not overlap: neighbours of few channels share a vector's place, and
// a load would wait for the store before it.
template <class T, bool kAdds> static void most_back(const Pool<T>& p, const T* dy, T* dx) {
  const Vec<T> zero(T(0));
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const Vec<T> most = part.load(p.y + y_at);
    Vec<T> left = part.load(dy + y_at);
    each_tap<T>(p, x_at, [&](std::int64_t at, bool) __attribute__((always_inline)) {
      const IntVec<T> takes = part.load(p.x + at) == most;
      const Vec<T> share = select(takes, left, zero);
      part.store(dx + at, kAdds ? part.load(dx + at) + share : share);
      left = select(takes, zero, left);
    });
  });
}
template <class T> static void pool_most_back(const Pool<T>& of, const T* dy, T* dx) {
  const Pool<T> p = of;
  p.add ? most_back<T, true>(p, dy, dx) : most_back<T, false>(p, dy, dx);
}

template <class T, bool kAdds> static void mean_back(const Pool<T>& p, const T* dy, T* dx) {
  const Vec<T> factor(p.factor);
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const Vec<T> share = factor * part.load(dy + y_at);
    each_tap<T>(p, x_at, [&](std::int64_t at, bool) __attribute__((always_inline)) {
      part.store(dx + at, kAdds ? part.load(dx + at) + share : share);
    });
  });
}
template <class T> static void pool_mean_back(const Pool<T>& of, const T* dy, T* dx) {
  const Pool<T> p = of;
  p.add ? mean_back<T, true>(p, dy, dx) : mean_back<T, false>(p, dy, dx);
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
