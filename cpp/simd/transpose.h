// Transposition of one square block of W registers of W lanes, W = Vec<T>::kWidth, without touching memory.
//
// Recursive block swap: in stage s = 1, 2, 4 .. W/2 the registers r[i] and r[i + s] (bit s of i clear) exchange their
// off-diagonal s x s blocks. log2(W) * W two-source shuffles in all: 64 for 16 floats.
#pragma once

#include "simd/vec.h"

namespace bp::BP_TIER {

// Lane l of the result is both[kIndex[l]], where both = {a, b}.
template <class T, int... kIndex> BP_INLINE Vec<T> shuffle2(Vec<T> a, Vec<T> b) {
#if defined(__clang__)
  return Vec<T>(static_cast<typename Native<T>::type>(__builtin_shufflevector(a.v, b.v, kIndex...)));
#else
  using Index = typename Native<typename LaneInt<T>::type>::type;
  return Vec<T>(static_cast<typename Native<T>::type>(__builtin_shuffle(a.v, b.v, Index{kIndex...})));
#endif
}

template <int... kLane> struct Lanes {};
template <int kCount, int... kLane> struct FirstLanes : FirstLanes<kCount - 1, kCount - 1, kLane...> {};
template <int... kLane> struct FirstLanes<0, kLane...> {
  using Type = Lanes<kLane...>;
};

template <class T, int kStep, int... kLane> BP_INLINE void swap_blocks(Vec<T>& a, Vec<T>& b, Lanes<kLane...>) {
  constexpr int kWidth = Vec<T>::kWidth;
  const Vec<T> low = shuffle2<T, ((kLane & kStep) == 0 ? kLane : kWidth + kLane - kStep)...>(a, b);
  b = shuffle2<T, ((kLane & kStep) == 0 ? kLane + kStep : kWidth + kLane)...>(a, b);
  a = low;
}

template <class T, int kStep> BP_INLINE void transpose_stages(Vec<T> (&r)[Vec<T>::kWidth]) {
  constexpr int kWidth = Vec<T>::kWidth;
  if constexpr (kStep < kWidth) {
    BP_UNROLL(16)
    for (int i = 0; i < kWidth; ++i) {
      if ((i & kStep) == 0) swap_blocks<T, kStep>(r[i], r[i + kStep], typename FirstLanes<kWidth>::Type{});
    }
    transpose_stages<T, 2 * kStep>(r);
  }
}

template <class T, int... kLane> BP_INLINE Vec<T> lower_lanes(Vec<T> a, Lanes<kLane...>) {
  constexpr int kWidth = Vec<T>::kWidth;
  return shuffle2<T, (kLane + kWidth / 2) % kWidth...>(a, a);
}
// The upper half of the lanes, where the lower half is.
template <class T> BP_INLINE Vec<T> high_half(Vec<T> a) {
  return lower_lanes<T>(a, typename FirstLanes<Vec<T>::kWidth>::Type{});
}

// r[i] lane j becomes r[j] lane i.
template <class T> BP_INLINE void transpose_block(Vec<T> (&r)[Vec<T>::kWidth]) { transpose_stages<T, 1>(r); }

}  // namespace bp::BP_TIER
