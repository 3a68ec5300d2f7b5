// Vec<T>: one SIMD register of float or double, on GCC/Clang vector extensions with the few intrinsics they lack.
//
// The width is the tier's (16, 32 or 64 bytes). All operators are IEEE-754 correctly rounded, so an expression gives
// the same bits at every width; fma() is one rounding on every tier but the x86-64 baseline, which has no such
// instruction.
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

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32, else 16
#else
constexpr bool kManyRegisters = false;
#endif

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool kHasFma = true;
#else
constexpr bool kHasFma = false;
#endif

// clang-format off
template <class T> struct LaneInt;
template <> struct LaneInt<float> { using type = std::int32_t; };
template <> struct LaneInt<double> { using type = std::int64_t; };

template <class T> struct LaneBits;
template <> struct LaneBits<float> { using type = std::uint32_t; };
template <> struct LaneBits<double> { using type = std::uint64_t; };

template <class T> struct Native { typedef T type __attribute__((vector_size(kVecBytes), may_alias)); };
template <class T> struct Unaligned { typedef T type __attribute__((vector_size(kVecBytes), aligned(1), may_alias)); };
// clang-format on

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
  template <int kBits> BP_INLINE IntVec shift_right_logical() const {  // AVX2 has no other for 64-bit lanes
    using Bits = typename Native<typename LaneBits<T>::type>::type;
    return reinterpret_cast<typename Native<Lane>::type>(reinterpret_cast<Bits>(v) >> kBits);
  }
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
template <class T> BP_INLINE Vec<T> from_bits(IntVec<T> a) { return reinterpret_cast<typename Native<T>::type>(a.v); }

// Where the condition's bits are set a, elsewhere b.
template <class T> BP_INLINE Vec<T> select(IntVec<T> condition, Vec<T> a, Vec<T> b) {
#if defined(__clang__)
  return from_bits<T>((condition & to_bits(a)) | (~condition & to_bits(b)));
#else
  return condition.v ? a.v : b.v;
#endif
}

// Clang's thread sanitizer passes over accesses wider than 16 bytes, so it is told of them.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BP_THREAD_SANITIZER
extern "C" void __tsan_read_range(void* p, unsigned long bytes);
extern "C" void __tsan_write_range(void* p, unsigned long bytes);
#endif
#endif
template <class T> BP_INLINE void note_read(const T* p, std::int64_t n) {
#if defined(BP_THREAD_SANITIZER)
  __tsan_read_range(const_cast<T*>(p), static_cast<unsigned long>(n) * sizeof(T));
#endif
  (void)p, (void)n;
}
template <class T> BP_INLINE void note_write(T* p, std::int64_t n) {
#if defined(BP_THREAD_SANITIZER)
  __tsan_write_range(p, static_cast<unsigned long>(n) * sizeof(T));
#endif
  (void)p, (void)n;
}

template <class T> BP_INLINE Vec<T> load(const T* p) {
  note_read(p, Vec<T>::kWidth);
  return *reinterpret_cast<const typename Unaligned<T>::type*>(p);
}
template <class T> BP_INLINE void store(T* p, Vec<T> a) {
  note_write(p, Vec<T>::kWidth);
  *reinterpret_cast<typename Unaligned<T>::type*>(p) = a.v;
}

#if defined(__AVX512F__)
BP_INLINE Vec<float> load_n(const float* p, std::int64_t n) {
  note_read(p, n);
  return Vec<float>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p));
}
BP_INLINE Vec<double> load_n(const double* p, std::int64_t n) {
  note_read(p, n);
  return Vec<double>(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1u), p));
}
BP_INLINE void store_n(float* p, Vec<float> a, std::int64_t n) {
  note_write(p, n);
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), a.v);
}
BP_INLINE void store_n(double* p, Vec<double> a, std::int64_t n) {
  note_write(p, n);
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
// Whole vectors without a mask: on many of AMD's cores a masked store is microcode, a dozen cycles and more.
BP_INLINE void store_n(float* p, Vec<float> a, std::int64_t n) {
  n == Vec<float>::kWidth ? _mm256_storeu_ps(p, a.v) : _mm256_maskstore_ps(p, tail_mask(n), a.v);
}
BP_INLINE void store_n(double* p, Vec<double> a, std::int64_t n) {
  n == Vec<double>::kWidth ? _mm256_storeu_pd(p, a.v) : _mm256_maskstore_pd(p, tail_mask(2 * n), a.v);
}
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

template <class T> BP_INLINE IntVec<T> max(IntVec<T> a, IntVec<T> b) {
  const IntVec<T> above = a > b;
#if defined(__clang__)
  return (above & a) | (~above & b);
#else
  return above.v ? a.v : b.v;
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

// Lane numbers 0, 1, 2, ...
alignas(64) static const std::int32_t kLanes32[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
alignas(64) static const std::int64_t kLanes64[8] = {0, 1, 2, 3, 4, 5, 6, 7};
template <class T> BP_INLINE IntVec<T> lane_numbers() {
  using Lane = typename LaneInt<T>::type;
  const void* from = sizeof(T) == 4 ? static_cast<const void*>(kLanes32) : static_cast<const void*>(kLanes64);
  return IntVec<T>(*static_cast<const typename Native<Lane>::type*>(from));
}

// Lanes first .. end - 1 of the vector at p, zeros in the others; p[0] .. p[end - 1] can be read.
#if defined(__AVX512F__)
BP_INLINE Vec<float> load_lanes(const float* p, std::int64_t first, std::int64_t end) {
  note_read(p + first, end - first);
  return Vec<float>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << end) - (1u << first)), p));
}
BP_INLINE Vec<double> load_lanes(const double* p, std::int64_t first, std::int64_t end) {
  note_read(p + first, end - first);
  return Vec<double>(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << end) - (1u << first)), p));
}
#else
template <class T> BP_INLINE Vec<T> load_lanes(const T* p, std::int64_t first, std::int64_t end) {
  const IntVec<T> outside = IntVec<T>(static_cast<typename LaneInt<T>::type>(first)) > lane_numbers<T>();
  return select(outside, Vec<T>(T(0)), load_n(p, end));
}
#endif

// y * 2^n for a whole n, exact unless the result is subnormal or overflows: then rounded once. y is within [1/4, 4].
#if defined(__AVX512F__)
BP_INLINE Vec<float> scale_by_power_of_2(Vec<float> y, Vec<float> n) {  // maskz: GCC warns inside the plain form
  return Vec<float>(_mm512_maskz_scalef_ps(static_cast<__mmask16>(0xffff), y.v, n.v));
}
BP_INLINE Vec<double> scale_by_power_of_2(Vec<double> y, Vec<double> n) {
  return Vec<double>(_mm512_maskz_scalef_pd(static_cast<__mmask8>(0xff), y.v, n.v));
}
#else
template <class T> BP_INLINE Vec<T> scale_by_power_of_2(Vec<T> y, Vec<T> n) {
  constexpr bool kSingle = sizeof(T) == 4;
  const Vec<T> magic(kSingle ? T(0x1.8p23) : T(0x1.8p52));  // adding it leaves n in the low bits
  const IntVec<T> one = to_bits(Vec<T>(T(1)));
  const Vec<T> half = fma(n, Vec<T>(T(0.5)), magic), rest = (n - (half - magic)) + magic;
  constexpr int kShift = kSingle ? 23 : 52;
  return y * from_bits<T>(to_bits(half).template shift_left<kShift>() + one) *
         from_bits<T>(to_bits(rest).template shift_left<kShift>() + one);
}
#endif

// All lanes combined in the tree (i, i + width/2), (i, i + width/4), ...; op(a, b) works on scalars and native vectors.
template <class T> struct Quarter {
  typedef T type __attribute__((vector_size(16), may_alias));
};
template <class Op> BP_INLINE float fold_quarter(typename Quarter<float>::type a, Op op) {
  return op(op(float(a[0]), float(a[2])), op(float(a[1]), float(a[3])));
}
template <class Op> BP_INLINE double fold_quarter(typename Quarter<double>::type a, Op op) {
  return op(double(a[0]), double(a[1]));
}
#if defined(__AVX2__)
template <class Op> BP_INLINE float fold_half(__m256 a, Op op) {
  return fold_quarter(op(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)), op);
}
template <class Op> BP_INLINE double fold_half(__m256d a, Op op) {
  return fold_quarter(op(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1)), op);
}
#endif
template <class Op> BP_INLINE float fold_lanes(Vec<float> a, Op op) {
#if defined(__AVX512F__)
  constexpr auto kAll = static_cast<__mmask8>(0xff);  // maskz: GCC warns inside the plain forms and inside the casts
  return fold_half(op(_mm512_maskz_extractf32x8_ps(kAll, a.v, 0), _mm512_maskz_extractf32x8_ps(kAll, a.v, 1)), op);
#elif defined(__AVX2__)
  return fold_half(a.v, op);
#else
  return fold_quarter(a.v, op);
#endif
}
template <class Op> BP_INLINE double fold_lanes(Vec<double> a, Op op) {
#if defined(__AVX512F__)
  constexpr auto kAll = static_cast<__mmask8>(0xf);
  return fold_half(op(_mm512_maskz_extractf64x4_pd(kAll, a.v, 0), _mm512_maskz_extractf64x4_pd(kAll, a.v, 1)), op);
#elif defined(__AVX2__)
  return fold_half(a.v, op);
#else
  return fold_quarter(a.v, op);
#endif
}

}  // namespace bp::BP_TIER
