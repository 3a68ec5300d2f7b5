// The only tail code: a body is called once per vector, and once more for what is left.
//
//   each_vector<T>(n, [&](auto at) { at.store(y, exp(at.load(x))); });
//
// A masked tail reads zeros in the lanes past the end and never touches memory there.
#pragma once

#include "simd/vec.h"

namespace bp::BP_TIER {

template <class T> struct Full {
  std::int64_t i;
  BP_INLINE Vec<T> load(const T* p) const { return BP_TIER::load(p + i); }
  BP_INLINE void store(T* p, Vec<T> a) const { BP_TIER::store(p + i, a); }
};

template <class T> struct Tail {
  std::int64_t i, n;
  BP_INLINE Vec<T> load(const T* p) const { return load_n(p + i, n); }
  BP_INLINE void store(T* p, Vec<T> a) const { store_n(p + i, a, n); }
};

template <class T, class Body> BP_INLINE void each_vector(std::int64_t n, Body body) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) body(Full<T>{i});
  if (i < n) body(Tail<T>{i, n - i});
}

}  // namespace bp::BP_TIER
