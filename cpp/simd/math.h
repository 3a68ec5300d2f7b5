// Elementary functions over Vec<T>, one source for float and double: no branches, no tables, no libm.
//
// Only + - * / sqrt and fma(), so a result has the same bits on every tier with FMA (a NaN's payload aside).
// Polynomials are minimax fits (Remez exchange in 45 digits), coefficients highest power first. Subnormal inputs
// and results are right when the thread does not flush them; NaN propagates; +-Inf and +-0 give the limits.
//
// Largest error found by tests/cpp/ulp.cpp, in units in the last place of the exact result, on the tiers with FMA
// (float: all 2^32 inputs; double: 2 * 10^7 samples) and, in brackets, on the x86-64 baseline:
//            exp          log          log1p        tanh         sigmoid      erf          softplus
//   float    0.97 (1.26)  0.86 (0.85)  1.42 (1.42)  1.50 (1.58)  1.65 (1.98)  1.49 (1.77)  1.81 (1.71)
//   double   0.95 (1.24)  0.83 (0.82)  1.34 (1.34)  1.47 (1.51)  1.62 (1.71)  1.42 (1.63)  1.61 (1.58)
#pragma once

#include "simd/vec.h"

namespace bp::BP_TIER {

template <class T> struct MathFacts;
// clang-format off
template <> struct MathFacts<float> {
  static constexpr float kMagic = 0x1.8p23f;          // x + magic rounds x to a whole number, left in the low bits
  static constexpr int kMantissa = 23;
  static constexpr float kMinNormal = 0x1p-126f;
  static constexpr float kExpLow = -104.0f;           // below ln(2^-150): exp rounds to 0
  static constexpr float kExpHigh = 89.0f;            // above ln(2^128): exp is Inf
  static constexpr float kExpm1Low = -20.0f;          // expm1 is -1 from here down
  static constexpr float kLog2e = 0x1.715476p+0f;
  static constexpr float kLn2High = 0x1.63p-1f;       // 9 bits: n * high is exact for every exponent n
  static constexpr float kLn2Low = -0x1.bd0106p-13f;
  static constexpr std::int32_t kSqrtHalf = 0x3f3504f3;  // bits of sqrt(1/2)
  // (expm1(r) - r) / r^2 on |r| <= ln(2)/2: error of expm1 2^-26.9
  static constexpr float kExp[] = {0x1.6d7548p-10f, 0x1.120b78p-7f, 0x1.5554b8p-5f, 0x1.5554dcp-3f, 0.5f};
  // (log((1+s)/(1-s)) / s - 2) / s^2 in z = s^2 on |s| <= 0.1716: error of the log 2^-29.9
  static constexpr float kLog[] = {0x1.2eee5ap-2f, 0x1.997bf8p-2f, 0x1.55555cp-1f};
  // (tanh(x) / x - 1) / x^2 in x^2 on |x| <= 0.55: relative error of tanh 2^-27
  static constexpr float kTanh[] = {-0x1.b1cfe8p-8f, 0x1.5d3a18p-6f, -0x1.b9a29ap-5f, 0x1.110ff4p-3f, -0x1.555554p-2f};
  // erf(x) / x - 1 in x^2 on |x| <= 1: error 2^-29.5
  static constexpr float kErf[] = {0x1.4c338cp-14f, -0x1.a50ae6p-11f, 0x1.542e0ep-8f, -0x1.b7fe90p-6f,
                                   0x1.ce2d50p-4f,  -0x1.812740p-2f,  0x1.06eba8p-3f};
  // exp(t^2) erfc(t) / q in q = 1 / (1 + c t) on 0 <= t <= 11: relative error 2^-26.7
  static constexpr float kErfcC = 0.35f;
  static constexpr float kErfc[] = {0x1.44f6aep-5f, -0x1.53f212p-3f, 0x1.96999ep-3f, -0x1.a34bbep-5f, 0x1.b7241ep-4f,
                                    0x1.1410aap-3f, 0x1.3dea98p-3f,  0x1.7ef816p-3f, 0x1.93f930p-3f,  0x1.946f22p-3f};
};
template <> struct MathFacts<double> {
  static constexpr double kMagic = 0x1.8p52;
  static constexpr int kMantissa = 52;
  static constexpr double kMinNormal = 0x1p-1022;
  static constexpr double kExpLow = -746.0, kExpHigh = 710.0;  // ln(2^-1075) = -745.13, ln(2^1024) = 709.78
  static constexpr double kExpm1Low = -40.0;
  static constexpr double kLog2e = 0x1.71547652b82fep+0;
  static constexpr double kLn2High = 0x1.62e42feep-1;  // 32 bits
  static constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  static constexpr std::int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kExp[] = {  // error of expm1 2^-56
      0x1.af632ad6abee8p-26, 0x1.289186d6aea07p-22, 0x1.71ddf6b3f10d1p-19, 0x1.a019b90bc3fbdp-16, 0x1.a01a01b00c2c6p-13,
      0x1.6c16c1788c44dp-10, 0x1.111111110f803p-7,  0x1.5555555553d62p-5,  0x1.5555555555558p-3,  0x1.0000000000001p-1};
  static constexpr double kLog[] = {  // error of the log 2^-59
      0x1.2b66348e33534p-3, 0x1.39fd3334ef199p-3, 0x1.7462be32a26a9p-3, 0x1.c71c62c206598p-3,
      0x1.2492492e0f05ep-2, 0x1.99999999951c0p-2, 0x1.5555555555558p-1};
  static constexpr double kTanh[] = {  // relative error 2^-57.32
      -0x1.5a05c53107736p-16, 0x1.652201a06e08fp-14, -0x1.ec1ca469f54a3p-13, 0x1.34c6c3c32ae3fp-11,
      -0x1.7d97ef2225e4ap-10, 0x1.d6d33b57cb0ebp-9, -0x1.226e32fb782e4p-7, 0x1.664f487759169p-6,
      -0x1.ba1ba1b9ffa15p-5,  0x1.111111111103ap-3, -0x1.5555555555555p-2};
  static constexpr double kErf[] = {  // error 2^-55.1
      -0x1.a0b8f08f854dfp-31, 0x1.d34c333a523fep-27,  -0x1.5b75ba96c6a55p-23, 0x1.b9677b1a13324p-20,
      -0x1.f4c7cadd9bc26p-17, 0x1.f9a290843ba1ap-14,  -0x1.c02dae7c58220p-11, 0x1.565bcced9ebebp-8,
      -0x1.b82ce311a29bep-6,  0x1.ce2f21a03f78fp-4,   -0x1.812746b03799cp-2,  0x1.06eba8214db68p-3};
  static constexpr double kErfcC = 0.3;
  static constexpr double kErfc[] = {  // on 0 <= t <= 28: relative error 2^-55.8
      0x1.b58ad535a3cc0p-10, -0x1.57d6fe6c16a3fp-6, 0x1.f2a76ac31b5b3p-4,  -0x1.b937153ceb7f0p-2, 0x1.09b846aac601bp+0,
      -0x1.cd901ee785c1fp+0, 0x1.2c5c29e57bb98p+1,  -0x1.2e98328c8edaap+1, 0x1.e536691b73babp+0,  -0x1.3932bf8e4513cp+0,
      0x1.46c0c6f9448b8p-1,  -0x1.20a1002768e24p-2, 0x1.83b87309edff6p-4,  -0x1.6eaad05f210bap-6, 0x1.ce739dc880fedp-6,
      0x1.5b6187db40798p-5,  0x1.2056d5b87a87cp-4,  0x1.9243a85c0d218p-4,  0x1.fe4fe4f1c8e08p-4,  0x1.2bd775a29b43ap-3,
      0x1.4b0a14da96e63p-3,  0x1.5aa3593143b6bp-3,  0x1.5aa359384a0e8p-3};
};
// clang-format on

// Horner's rule, highest power first.
template <class T, int kCount> BP_INLINE Vec<T> polynomial(Vec<T> x, const T (&coefficients)[kCount]) {
  Vec<T> sum(coefficients[0]);
#pragma GCC unroll 32
  for (int i = 1; i < kCount; ++i) sum = fma(sum, x, Vec<T>(coefficients[i]));
  return sum;
}

// Keeps NaN. -0 stays what it is.
template <class T> BP_INLINE Vec<T> clamp(Vec<T> x, T low, T high) { return min(Vec<T>(high), max(Vec<T>(low), x)); }

// x = n ln 2 + r, |r| <= ln(2)/2 (Cody and Waite 1980); `rounded` holds n in its low bits.
template <class T> struct ExpParts {
  Vec<T> rounded, n, r;
};
template <class T> BP_INLINE ExpParts<T> exp_parts(Vec<T> x) {
  using F = MathFacts<T>;
  const Vec<T> magic(F::kMagic);
  ExpParts<T> parts;
  parts.rounded = fma(x, Vec<T>(F::kLog2e), magic);
  parts.n = parts.rounded - magic;
  parts.r = fnma(parts.n, Vec<T>(F::kLn2Low), fnma(parts.n, Vec<T>(F::kLn2High), x));
  return parts;
}

// e^x = 2^n (1 + r (1 + r q(r))).
template <class T> BP_INLINE Vec<T> exp(Vec<T> x) {
  using F = MathFacts<T>;
  const ExpParts<T> p = exp_parts(clamp(x, F::kExpLow, F::kExpHigh));
  const Vec<T> one(T(1));
  return scale_by_power_of_2(fma(fma(polynomial(p.r, F::kExp), p.r, one), p.r, one), p.n);
}

// e^x - 1 = 2^n (r + r^2 q(r)) + (2^n - 1), for x <= 0 (what is above 0 may come out as anything).
template <class T> BP_INLINE Vec<T> expm1_negative(Vec<T> x) {
  using F = MathFacts<T>;
  const ExpParts<T> p = exp_parts(max(Vec<T>(F::kExpm1Low), x));
  const Vec<T> one(T(1));
  const Vec<T> power = from_bits<T>(to_bits(p.rounded).template shift_left<F::kMantissa>() + to_bits(one));
  const Vec<T> part = fma(p.r * p.r, polynomial(p.r, F::kExp), p.r);
  return fma(power, part, power - one);
}

// 1 + e = m 2^k with sqrt(1/2) <= m < sqrt(2), f = m - 1; log = k ln 2 + log(1 + f), where with s = f / (2 + f)
// log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) (fdlibm's e_log.c). The sum k ln 2 + f keeps its rounding error.
template <class T> BP_INLINE Vec<T> log_sum(Vec<T> k, Vec<T> f) {
  using F = MathFacts<T>;
  const Vec<T> half_square = f * (f * Vec<T>(T(0.5)));
  const Vec<T> s = f / (f + Vec<T>(T(2))), z = s * s;
  const Vec<T> rest = fma(s, fma(z, polynomial(z, F::kLog), half_square), k * Vec<T>(F::kLn2Low)) - half_square;
  const Vec<T> high = fma(k, Vec<T>(F::kLn2High), f);
  const Vec<T> lost = f + fma(k, Vec<T>(F::kLn2High), -high);
  return high + (lost + rest);
}

// Exponent and mantissa of a positive normal x: x = m 2^k with sqrt(1/2) <= m < sqrt(2).
template <class T> struct LogParts {
  Vec<T> k, m;
};
template <class T> BP_INLINE LogParts<T> log_parts(Vec<T> x) {
  using F = MathFacts<T>;
  using Lane = typename LaneInt<T>::type;
  constexpr Lane kBias = Lane{1} << (F::kMantissa == 23 ? 7 : 10);  // keeps the shifted exponent positive
  const IntVec<T> bits = to_bits(x);
  const IntVec<T> above(static_cast<Lane>((kBias << F::kMantissa) - F::kSqrtHalf));
  const IntVec<T> k = (bits + above).template shift_right_logical<F::kMantissa>();
  const Vec<T> magic(F::kMagic);
  LogParts<T> parts;
  parts.k = from_bits<T>(to_bits(magic) + k) - Vec<T>(F::kMagic + static_cast<T>(kBias));
  parts.m = from_bits<T>(bits - (k - IntVec<T>(kBias)).template shift_left<F::kMantissa>());
  return parts;
}

// log and log1p where the argument (of log) is 0, negative, NaN or +Inf.
template <class T> BP_INLINE Vec<T> log_limits(Vec<T> x, Vec<T> result) {
  const Vec<T> infinity(static_cast<T>(__builtin_inf())), zero(typename Vec<T>::N{});
  result = select(x < infinity, result, x);  // +Inf and NaN as they came
  return select(x > zero, result, select(x == zero, -infinity, (x - x) / (x - x)));
}

template <class T> BP_INLINE Vec<T> log(Vec<T> x) {
  using F = MathFacts<T>;
  constexpr T kUp = F::kMantissa == 23 ? T(0x1p23) : T(0x1p52);
  const IntVec<T> tiny = x < Vec<T>(F::kMinNormal);
  const LogParts<T> p = log_parts(select(tiny, x * Vec<T>(kUp), x));
  const Vec<T> k = p.k - select(tiny, Vec<T>(T(F::kMantissa)), Vec<T>(T(0)));
  return log_limits(x, log_sum(k, p.m - Vec<T>(T(1))));
}

// log(1 + x): u = 1 + x rounded, and what the rounding lost goes to f.
template <class T> BP_INLINE Vec<T> log1p(Vec<T> x) {
  const Vec<T> one(T(1)), u = one + x;
  const Vec<T> lost = min(one, x) - (u - max(one, x));
  const LogParts<T> p = log_parts(u);
  // 2^-k = m / u by bits; beyond 2^53 the lost part no longer counts and its scale would not be representable.
  const IntVec<T> scale = to_bits(one) + (to_bits(p.m) - to_bits(u));
  const Vec<T> correction = select(u < Vec<T>(T(0x1p53)), lost * from_bits<T>(scale), Vec<T>(T(0)));
  return copysign(log_limits(u, log_sum(p.k, (p.m - one) + correction)), x);
}

// log(1 + e) for 0 <= e <= 1: the exponent is 0 or 1.
template <class T> BP_INLINE Vec<T> log1p_unit(Vec<T> e) {
  const Vec<T> one(T(1)), zero(T(0)), half(T(0.5)), u = one + e, lost = e - (u - one);
  const IntVec<T> upper = u > Vec<T>(T(1.4142135623730951));
  const Vec<T> scale = select(upper, half, one);
  return log_sum(select(upper, one, zero), fma(u, scale, -one) + lost * scale);
}

// x + x^3 P(x^2) for |x| < 0.55; else 1 - 2 e / (1 + e), e = exp(-2|x|) (Cephes' tanh.c splits alike, at 0.625).
// The split is where tanh is 1/2, so that the difference is no finer than its terms.
template <class T> BP_INLINE Vec<T> tanh(Vec<T> x) {
  const Vec<T> y = abs(x), square = x * x, one(T(1));
  const Vec<T> e = exp(y * Vec<T>(T(-2)));
  const Vec<T> outer = one - (e + e) / (one + e);
  const Vec<T> inner = fma(y * square, polynomial(square, MathFacts<T>::kTanh), y);
  return copysign(select(y < Vec<T>(T(0.55)), inner, outer), x);
}

// With e = exp(-|x|) and q = e / (1 + e): 1 - q for x >= 0, e - e q for x < 0 (which loses less than q itself).
template <class T> struct SigmoidParts {
  Vec<T> value, q;
};  // the derivative is q - q^2, without cancellation
template <class T> BP_INLINE SigmoidParts<T> sigmoid_from(Vec<T> x, Vec<T> e) {
  const Vec<T> one(T(1)), base = select(x < Vec<T>(T(0)), e, one), q = e / (one + e);
  return {fnma(q, base, base), q};
}
template <class T> BP_INLINE Vec<T> sigmoid(Vec<T> x) { return sigmoid_from(x, exp(-abs(x))).value; }

// log(1 + e^x) = max(x, 0) + log(1 + exp(-|x|)).
template <class T> BP_INLINE Vec<T> softplus_from(Vec<T> x, Vec<T> e) { return max(Vec<T>(T(0)), x) + log1p_unit(e); }
template <class T> BP_INLINE Vec<T> softplus(Vec<T> x) { return softplus_from(x, exp(-abs(x))); }

// erfc(t) / exp(-t^2) for t >= 0, a polynomial in 1 / (1 + c t); ct = c * t.
template <class T> BP_INLINE Vec<T> erfc_ratio(Vec<T> ct) {
  const Vec<T> q = Vec<T>(T(1)) / (Vec<T>(T(1)) + ct);
  return q * polynomial(q, MathFacts<T>::kErfc);
}

// x + x P(x^2) for |x| < 1, else 1 - erfc.
template <class T> BP_INLINE Vec<T> erf(Vec<T> x) {
  using F = MathFacts<T>;
  const Vec<T> t = abs(x), square = x * x, one(T(1));
  const Vec<T> inner = fma(t, polynomial(square, F::kErf), t);
  const Vec<T> outer = fnma(exp(-square), erfc_ratio(t * Vec<T>(F::kErfcC)), one);
  return copysign(select(t < one, inner, outer), x);
}

// Phi(x) = erfc(-x / sqrt 2) / 2, to a few ULP relative near 0 and above, absolute far below; also exp(-x^2/2).
template <class T> struct NormalCdf {
  Vec<T> phi, gauss;
};
template <class T> BP_INLINE NormalCdf<T> normal_cdf(Vec<T> x) {
  constexpr T kScale = static_cast<T>(MathFacts<T>::kErfcC * 0.70710678118654752440);
  NormalCdf<T> result;
  result.gauss = exp(x * x * Vec<T>(T(-0.5)));
  const Vec<T> tail = Vec<T>(T(0.5)) * result.gauss * erfc_ratio(abs(x) * Vec<T>(kScale));
  result.phi = select(x < Vec<T>(T(0)), tail, Vec<T>(T(1)) - tail);
  return result;
}

}  // namespace bp::BP_TIER
