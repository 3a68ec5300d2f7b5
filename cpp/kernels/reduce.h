// Reductions over one row with a fixed number of virtual lanes, and the loops that feed them.
//
// A block is 64 bytes: 16 floats or 8 doubles, in 1, 2 or 4 registers. Value i of a row goes to virtual lane i mod
// 16 (8); the lanes are combined in the tree (i, i + 8), (i, i + 4), (i, i + 2), (i, i + 1). So a sum has the same
// bits at every register width, and depends on the row alone. A row of at most one block never leaves the
// registers.
#pragma once

#include "simd/loops.h"

namespace bp::BP_TIER {

template <class T> constexpr std::int64_t kBlock = 64 / static_cast<std::int64_t>(sizeof(T));  // virtual lanes
constexpr int kParts = 64 / kVecBytes;                                                         // registers of a block

// Where a part of a row lies, and which of its lanes do (all of them in WholePart).
template <class T> struct WholePart : Full<T> {
  BP_INLINE Vec<T> keep(Vec<T> x, Vec<T>) const { return x; }
  BP_INLINE std::int64_t start() const { return this->i; }
};
template <class T> struct LastPart : Tail<T> {
  BP_INLINE Vec<T> keep(Vec<T> x, Vec<T> other) const {
    return select(lane_numbers<T>() < IntVec<T>(static_cast<typename LaneInt<T>::type>(this->n)), x, other);
  }
  BP_INLINE std::int64_t start() const { return this->i; }
};

// body(part, q) for the parts q = 0.. of one block of `left` values from index i; parts that hold nothing are left out.
template <class T, class Body> BP_INLINE void each_part(std::int64_t i, std::int64_t left, Body body) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
#pragma GCC unroll 4
  for (int q = 0; q < kParts; ++q, left -= kWidth) {
    if (left >= kWidth) {
      body(WholePart<T>{{i + q * kWidth}}, q);
    } else if (left > 0) {
      body(LastPart<T>{{i + q * kWidth, left}}, q);
    }
  }
}

// body(part, q) over a whole row.
template <class T, class Body> BP_INLINE void each_block(std::int64_t n, Body body) {
  std::int64_t i = 0;
  for (; i + kBlock<T> <= n; i += kBlock<T>) {
#pragma GCC unroll 4
    for (int q = 0; q < kParts; ++q) body(WholePart<T>{{i + q * Vec<T>::kWidth}}, q);
  }
  if (i < n) each_part<T>(i, n - i, body);
}

struct AddOp {
  template <class V> BP_INLINE V operator()(V a, V b) const { return a + b; }
};
struct MaxOp {
  BP_INLINE float operator()(float a, float b) const { return a > b ? a : b; }
  BP_INLINE double operator()(double a, double b) const { return a > b ? a : b; }
  template <class V> BP_INLINE V operator()(V a, V b) const {
#if defined(__clang__)
    for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
#else
    return a > b ? a : b;
#endif
  }
};

template <class T, class Op> BP_INLINE T fold_block(const Vec<T>* part, Op op) {
  using N = typename Vec<T>::N;
  N all = part[0].v;
  if constexpr (kParts == 2) all = op(all, part[1].v);
  if constexpr (kParts == 4) all = op(op(all, part[2].v), op(part[1].v, part[3].v));
  return fold_lanes(Vec<T>(all), op);
}

// The lanes of a sum or a maximum.
template <class T> struct RowSum {
  Vec<T> part[kParts];
  BP_INLINE RowSum() {
    for (int q = 0; q < kParts; ++q) part[q] = Vec<T>(T(0));
  }
  BP_INLINE void add(int q, Vec<T> x) { part[q] = part[q] + x; }
  BP_INLINE T total() const { return fold_block<T>(part, AddOp{}); }
};
template <class T> struct RowMax {
  Vec<T> part[kParts];
  BP_INLINE RowMax() {
    for (int q = 0; q < kParts; ++q) part[q] = Vec<T>(static_cast<T>(-__builtin_inf()));
  }
  BP_INLINE void add(int q, Vec<T> x) { part[q] = max(x, part[q]); }  // a NaN is passed over
  BP_INLINE T total() const { return fold_block<T>(part, MaxOp{}); }
};

template <class T> BP_INLINE T row_max(const T* x, std::int64_t n) {
  RowMax<T> most;
  each_block<T>(n, [&](auto at, int q) __attribute__((always_inline)) {
    most.add(q, at.keep(at.load(x), Vec<T>(static_cast<T>(-__builtin_inf()))));
  });
  return most.total();
}

// The function of one value, by the vector code.
template <class T> BP_INLINE T first_lane(Vec<T> x) { return x.v[0]; }

}  // namespace bp::BP_TIER
