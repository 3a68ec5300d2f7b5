// Vec<Pair>: pairs of bfloat16, and the instruction that multiplies and adds them (AVX512_BF16).
//
// Rounding is to nearest even; a NaN stays one; values beyond bfloat16's range (3.39e38) become infinite. To be
// included before what is made of Vec: its load_n and store_n are found by name.
#pragma once

#include "simd/vec.h"

namespace bp::BP_TIER {

using Pair = std::int32_t;  // the even k in the low half
template <> struct LaneInt<Pair> {
  using type = std::int32_t;
};

BP_INLINE Vec<Pair> load_n(const Pair* p, std::int64_t n) {
  note_read(p, n);
  return Vec<Pair>(
      reinterpret_cast<Native<Pair>::type>(_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1u), p)));
}
BP_INLINE void store_n(Pair* p, Vec<Pair> a, std::int64_t n) {
  note_write(p, n);
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1u), reinterpret_cast<__m512i>(a.v));
}

// c + the two products of each pair: the instruction's own order and rounding, the same on every CPU that has it.
BP_INLINE Vec<float> fma(Vec<Pair> a, Vec<Pair> b, Vec<float> c) {
  return Vec<float>(_mm512_dpbf16_ps(c.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v)));
}

// 16 pairs from 32 neighbours in k.
BP_INLINE Vec<Pair> pairs_along(Vec<float> first, Vec<float> second) {
  return Vec<Pair>(reinterpret_cast<Native<Pair>::type>(_mm512_cvtne2ps_pbh(second.v, first.v)));
}

// 16 pairs from two rows: lane j holds (even[j], odd[j]).
alignas(64) static const std::int16_t kInterleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
BP_INLINE Vec<Pair> pairs_across(Vec<float> even, Vec<float> odd) {
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd.v, even.v));
  const __m512i order = _mm512_load_si512(kInterleave);
  return Vec<Pair>(reinterpret_cast<Native<Pair>::type>(_mm512_maskz_permutexvar_epi16(
      static_cast<__mmask32>(0xffffffffu), order, both)));  // maskz: GCC warns inside the plain form
}

}  // namespace bp::BP_TIER
