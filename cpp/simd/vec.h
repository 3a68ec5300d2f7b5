// Vec<T>: one SIMD register of float or double, on GCC/Clang vector extensions with the few intrinsics they lack.
//
// The width is the tier's (16, 32 or 64 bytes). All operators are IEEE-754 correctly rounded, so an expression gives the
// same bits at every width; fma() is one rounding on every tier but the x86-64 baseline, which has no such instruction.
#pragma once

#include <cstdint>

#include "base/tier.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace bp::BP_TIER {

#if defined(__AVX512F__)
constexpr int kVecBytes = 64;
#elif defined(__AVX2__)
constexpr int kVecBytes = 32;
#else
constexpr int kVecBytes = 16;
#endif

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool kHasFma = true;
#else
constexpr bool kHasFma = false;
#endif

template <class T> struct LaneInt;
template <> struct LaneInt<float> { using type = std::int32_t; };
template <> struct LaneInt<double> { using type = std::int64_t; };

template <class T> struct Native { typedef T type __attribute__((vector_size(kVecBytes), may_alias)); };
template <class T> struct Unaligned { typedef T type __attribute__((vector_size(kVecBytes), aligned(1), may_alias)); };

// Lanes of integers, as wide as the lanes of Vec<T>; also the type of a comparison (all bits set = true).
template <class T> struct IntVec {
  using Lane = typename LaneInt<T>::type;
  typename Native<Lane>::type v;
  BP_INLINE IntVec() = default;
  BP_INLINE IntVec(typename Native<Lane>::type native) : v(native) {}
  BP_INLINE IntVec(Lane lane) : v(typename Native<Lane>::type{} + lane) {}
  friend BP_INLINE IntVec operator+(IntVec a, IntVec b) { return a.v + b.v; }
  friend BP_INLINE IntVec operator-(IntVec a, IntVec b) { return a.v - b.v; }
  friend BP_INLINE IntVec operator&(IntVec a, IntVec b) { return a.v & b.v; }
  friend BP_INLINE IntVec operator|(IntVec a, IntVec b) { return a.v | b.v; }
  friend BP_INLINE IntVec operator^(IntVec a, IntVec b) { return a.v ^ b.v; }
  friend BP_INLINE IntVec operator~(IntVec a) { return ~a.v; }
  friend BP_INLINE IntVec operator==(IntVec a, IntVec b) { return a.v == b.v; }
  friend BP_INLINE IntVec operator<(IntVec a, IntVec b) { return a.v < b.v; }
  friend BP_INLINE IntVec operator>(IntVec a, IntVec b) { return a.v > b.v; }
  template <int kBits> BP_INLINE IntVec shift_left() const { return v << kBits; }
  template <int kBits> BP_INLINE IntVec shift_right() const { return v >> kBits; }  // arithmetic
};

template <class T> struct Vec {
  using N = typename Native<T>::type;
  static constexpr int kWidth = kVecBytes / static_cast<int>(sizeof(T));
  N v;
  BP_INLINE Vec() = default;
  BP_INLINE Vec(N native) : v(native) {}
  // Broadcast. x + 0 would lose the sign of -0, so the lanes are filled by subtraction of +0.
  BP_INLINE Vec(T lane) : v(lane - N{}) {}
  friend BP_INLINE Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  friend BP_INLINE Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  friend BP_INLINE Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  friend BP_INLINE Vec operator/(Vec a, Vec b) { return a.v / b.v; }
  friend BP_INLINE Vec operator-(Vec a) { return -a.v; }
  friend BP_INLINE IntVec<T> operator<(Vec a, Vec b) { return {a.v < b.v}; }
  friend BP_INLINE IntVec<T> operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
  friend BP_INLINE IntVec<T> operator>(Vec a, Vec b) { return {a.v > b.v}; }
  friend BP_INLINE IntVec<T> operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
  friend BP_INLINE IntVec<T> operator==(Vec a, Vec b) { return {a.v == b.v}; }
  friend BP_INLINE IntVec<T> operator!=(Vec a, Vec b) { return {a.v != b.v}; }
};

template <class T> BP_INLINE IntVec<T> to_bits(Vec<T> a) {
  return reinterpret_cast<typename Native<typename LaneInt<T>::type>::type>(a.v);
}
template <class T> BP_INLINE Vec<T> from_bits(IntVec<T> a) {
  return reinterpret_cast<typename Native<T>::type>(a.v);
}

// Where the condition's bits are set a, elsewhere b.
template <class T> BP_INLINE Vec<T> select(IntVec<T> condition, Vec<T> a, Vec<T> b) {
#if defined(__clang__)
  return from_bits<T>((condition & to_bits(a)) | (~condition & to_bits(b)));
#else
  return condition.v ? a.v : b.v;
#endif
}

template <class T> BP_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Unaligned<T>::type*>(p);
}
template <class T> BP_INLINE void store(T* p, Vec<T> a) { *reinterpret_cast<typename Unaligned<T>::type*>(p) = a.v; }

#if defined(__AVX512F__)
BP_INLINE Vec<float> load_n(const float* p, std::int64_t n) {
  return Vec<float>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p));
}
BP_INLINE Vec<double> load_n(const double* p, std::int64_t n) {
  return Vec<double>(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1u), p));
}
BP_INLINE void store_n(float* p, Vec<float> a, std::int64_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), a.v);
}
BP_INLINE void store_n(double* p, Vec<double> a, std::int64_t n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1u), a.v);
}
#elif defined(__AVX2__)
alignas(32) static const std::int32_t kTailMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
BP_INLINE __m256i tail_mask(std::int64_t n_words) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTailMask + 8 - n_words));
}
BP_INLINE Vec<float> load_n(const float* p, std::int64_t n) { return Vec<float>(_mm256_maskload_ps(p, tail_mask(n))); }
BP_INLINE Vec<double> load_n(const double* p, std::int64_t n) {
  return Vec<double>(_mm256_maskload_pd(p, tail_mask(2 * n)));
}
BP_INLINE void store_n(float* p, Vec<float> a, std::int64_t n) { _mm256_maskstore_ps(p, tail_mask(n), a.v); }
BP_INLINE void store_n(double* p, Vec<double> a, std::int64_t n) { _mm256_maskstore_pd(p, tail_mask(2 * n), a.v); }
#else
// First n lanes (0 <= n <= width); the others are zero.
template <class T> BP_INLINE Vec<T> load_n(const T* p, std::int64_t n) {
  typename Native<T>::type a{};
  for (std::int64_t i = 0; i < n; ++i) a[i] = p[i];
  return a;
}
template <class T> BP_INLINE void store_n(T* p, Vec<T> a, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) p[i] = a.v[i];
}
#endif

// a * b + c with one rounding (two on the x86-64 baseline).
BP_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
  return Vec<float>(_mm512_fmadd_ps(a.v, b.v, c.v));
#elif defined(__FMA__)
  return Vec<float>(_mm256_fmadd_ps(a.v, b.v, c.v));
#elif defined(__aarch64__)
  return Vec<float>(vfmaq_f32(c.v, a.v, b.v));
#else
  return a * b + c;
#endif
}
BP_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__)
  return Vec<double>(_mm512_fmadd_pd(a.v, b.v, c.v));
#elif defined(__FMA__)
  return Vec<double>(_mm256_fmadd_pd(a.v, b.v, c.v));
#elif defined(__aarch64__)
  return Vec<double>(vfmaq_f64(c.v, a.v, b.v));
#else
  return a * b + c;
#endif
}
// c - a * b
template <class T> BP_INLINE Vec<T> fnma(Vec<T> a, Vec<T> b, Vec<T> c) { return fma(-a, b, c); }

BP_INLINE Vec<float> sqrt(Vec<float> a) {
#if defined(__AVX512F__)
  return Vec<float>(_mm512_maskz_sqrt_ps(0xffff, a.v));  // the plain one warns in GCC 12
#elif defined(__AVX2__)
  return Vec<float>(_mm256_sqrt_ps(a.v));
#elif defined(__x86_64__)
  return Vec<float>(_mm_sqrt_ps(a.v));
#elif defined(__aarch64__)
  return Vec<float>(vsqrtq_f32(a.v));
#endif
}
BP_INLINE Vec<double> sqrt(Vec<double> a) {
#if defined(__AVX512F__)
  return Vec<double>(_mm512_maskz_sqrt_pd(0xff, a.v));
#elif defined(__AVX2__)
  return Vec<double>(_mm256_sqrt_pd(a.v));
#elif defined(__x86_64__)
  return Vec<double>(_mm_sqrt_pd(a.v));
#elif defined(__aarch64__)
  return Vec<double>(vsqrtq_f64(a.v));
#endif
}

// x86 semantics on every machine: if either is NaN, or both are zeros, the second argument.
template <class T> BP_INLINE Vec<T> min(Vec<T> a, Vec<T> b) { return select(a < b, a, b); }
template <class T> BP_INLINE Vec<T> max(Vec<T> a, Vec<T> b) { return select(a > b, a, b); }

template <class T> BP_INLINE IntVec<T> sign_bit() {
  return IntVec<T>(static_cast<typename LaneInt<T>::type>(std::uint64_t{1} << (8 * sizeof(T) - 1)));
}
template <class T> BP_INLINE Vec<T> abs(Vec<T> a) { return from_bits<T>(to_bits(a) & ~sign_bit<T>()); }
template <class T> BP_INLINE Vec<T> copysign(Vec<T> magnitude, Vec<T> sign) {
  return from_bits<T>((to_bits(magnitude) & ~sign_bit<T>()) | (to_bits(sign) & sign_bit<T>()));
}

}  // namespace bp::BP_TIER
