// The pointwise activations, one struct each: f, its derivative df, and what backward keeps.
//
// Definitions are those of Keras 3 and PyTorch 2. kKeepsZ: df takes z, else a = f(z), which the next layer needs
// anyway. df at a kink: relu 0, relu6 0 at 0 and 6, leaky_relu alpha, hard_sigmoid 0 at -3 and 3, elu and celu as
// for z < 0. NaN in gives NaN out; f(-Inf) of gelu, silu and mish is their limit, -0. Errors are a few ULP over
// those of simd/math.h.
#pragma once

#include "simd/math.h"

namespace bp::BP_TIER {

template <class T> BP_INLINE Vec<T> broadcast(double x) { return Vec<T>(static_cast<T>(x)); }

template <class T> struct Linear {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return z; }
  static BP_INLINE Vec<T> df(Vec<T>, Vec<T>) { return broadcast<T>(1); }
};

// 1 / (1 + e^-z);  a (1 - a)
template <class T> struct Sigmoid {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return sigmoid(z); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) { return fnma(a, a, a); }
};

// min(max(z + 3, 0), 6) / 6;  1/6 inside
template <class T> struct HardSigmoid {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return clamp(z + broadcast<T>(3), T(0), T(6)) / broadcast<T>(6); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) {
    const Vec<T> zero = broadcast<T>(0);
    return select((a > zero) & (a < broadcast<T>(1)), broadcast<T>(1.0 / 6), zero);
  }
};

// (e^z - e^-z) / (e^z + e^-z);  1 - a^2
template <class T> struct Tanh {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return tanh(z); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) { return fnma(a, a, broadcast<T>(1)); }
};

// max(z, 0);  1 where a > 0
template <class T> struct Relu {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return max(broadcast<T>(0), z); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) { return select(a > broadcast<T>(0), broadcast<T>(1), broadcast<T>(0)); }
};

// z > 0 ? z : alpha z;  a > 0 ? 1 : alpha. alpha >= 0, so that a has the sign of z.
template <class T> struct LeakyRelu {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T> alpha) { return select(z > broadcast<T>(0), z, alpha * z); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T> alpha) { return select(a > broadcast<T>(0), broadcast<T>(1), alpha); }
};

// min(max(z, 0), 6);  1 where 0 < a < 6
template <class T> struct Relu6 {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return clamp(z, T(0), T(6)); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) {
    const Vec<T> zero = broadcast<T>(0);
    return select((a > zero) & (a < broadcast<T>(6)), broadcast<T>(1), zero);
  }
};

template <class T> BP_INLINE Vec<T> expm1_below_zero(Vec<T> z) { return expm1_negative(min(broadcast<T>(0), z)); }

// z > 0 ? z : alpha (e^z - 1);  a > 0 ? 1 : a + alpha (Clevert et al. 2016)
template <class T> struct Elu {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T> alpha) {
    return select(z > broadcast<T>(0), z, alpha * expm1_below_zero(z));
  }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T> alpha) { return select(a > broadcast<T>(0), broadcast<T>(1), a + alpha); }
};

// lambda elu(z; alpha) with the constants that keep mean 0 and variance 1 (Klambauer et al. 2017)
template <class T> struct Selu {
  static constexpr bool kKeepsZ = false;
  static constexpr double kLambda = 1.0507009873554804934193349852946, kAlpha = 1.6732632423543772848170429916717;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) {
    return select(z > broadcast<T>(0), broadcast<T>(kLambda) * z, broadcast<T>(kLambda * kAlpha) * expm1_below_zero(z));
  }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) {
    return select(a > broadcast<T>(0), broadcast<T>(kLambda), a + broadcast<T>(kLambda * kAlpha));
  }
};

// z > 0 ? z : alpha (e^(z/alpha) - 1);  a > 0 ? 1 : a / alpha + 1 (Barron 2017)
template <class T> struct Celu {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T> alpha) {
    return select(z > broadcast<T>(0), z, alpha * expm1_negative(min(broadcast<T>(0), z) / alpha));
  }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T> alpha) {
    const Vec<T> one = broadcast<T>(1);
    return select(a > broadcast<T>(0), one, a / alpha + one);
  }
};

// Below this z Phi, sigmoid and tanh(softplus) are 0 in T: z is held there so that -Inf gives -0, not NaN.
template <class T> constexpr T kLowest = sizeof(T) == 4 ? T(-110) : T(-750);

// z Phi(z);  Phi + z phi, phi = exp(-z^2/2) / sqrt(2 pi) (Hendrycks and Gimpel 2016)
template <class T> struct Gelu {
  static constexpr bool kKeepsZ = true;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return max(Vec<T>(kLowest<T>), z) * normal_cdf(z).phi; }
  static BP_INLINE Vec<T> df(Vec<T> z, Vec<T>) {
    const Vec<T> y = clamp(z, kLowest<T>, -kLowest<T>);
    const NormalCdf<T> cdf = normal_cdf(y);
    return fma(y * broadcast<T>(0.39894228040143267794), cdf.gauss, cdf.phi);
  }
};

// z s, s = sigmoid(2u), u = sqrt(2/pi) (z + 0.044715 z^3), which is z (1 + tanh u) / 2;  s + z s (1 - s) 2u'
template <class T> struct GeluTanh {
  static constexpr bool kKeepsZ = true;
  static constexpr double kSlope = 1.5957691216057307117597842397375, kCubic = 0.044715;  // 2 sqrt(2/pi)
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) {
    const Vec<T> y = clamp(z, kLowest<T>, -kLowest<T>);
    const Vec<T> u = y * fma(y * y, broadcast<T>(kSlope * kCubic), broadcast<T>(kSlope));
    return max(Vec<T>(kLowest<T>), z) * sigmoid(u);
  }
  static BP_INLINE Vec<T> df(Vec<T> z, Vec<T>) {
    const Vec<T> y = clamp(z, kLowest<T>, -kLowest<T>), square = y * y;
    const Vec<T> u = y * fma(square, broadcast<T>(kSlope * kCubic), broadcast<T>(kSlope));
    const SigmoidParts<T> s = sigmoid_from(u, exp(-abs(u)));
    return fma(y * fnma(s.q, s.q, s.q), fma(square, broadcast<T>(3 * kSlope * kCubic), broadcast<T>(kSlope)), s.value);
  }
};

// z s, s = sigmoid(z);  s + z s (1 - s) (swish: Ramachandran et al. 2017)
template <class T> struct Silu {
  static constexpr bool kKeepsZ = true;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return max(Vec<T>(kLowest<T>), z) * sigmoid(z); }
  static BP_INLINE Vec<T> df(Vec<T> z, Vec<T>) {
    const Vec<T> y = clamp(z, kLowest<T>, -kLowest<T>);
    const SigmoidParts<T> s = sigmoid_from(y, exp(-abs(y)));
    return fma(y, fnma(s.q, s.q, s.q), s.value);
  }
};

// z tanh(softplus(z)) = z n / (n + 2), n = e (e + 2), e = e^z;  n q + z 4 e (1 + e) q^2, q = 1 / (n + 2) (Misra 2019)
template <class T> struct Mish {
  static constexpr bool kKeepsZ = true;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) {
    const Vec<T> e = exp(min(broadcast<T>(40), z)), n = e * (e + broadcast<T>(2));
    return max(Vec<T>(kLowest<T>), z) * (n / (n + broadcast<T>(2)));
  }
  static BP_INLINE Vec<T> df(Vec<T> z, Vec<T>) {
    const Vec<T> y = clamp(z, kLowest<T>, T(40)), e = exp(y), n = e * (e + broadcast<T>(2));
    const Vec<T> q = broadcast<T>(1) / (n + broadcast<T>(2));
    return fma(y * broadcast<T>(4) * (e * q), (broadcast<T>(1) + e) * q, n * q);
  }
};

// log(1 + e^z);  sigmoid(z) = 1 - e^-a
template <class T> struct Softplus {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return softplus(z); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) { return -expm1_negative(-a); }
};

// z / (1 + |z|);  1 / (1 + |z|)^2 = (1 - |a|)^2. +-Inf gives +-1.
template <class T> struct Softsign {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) {
    const Vec<T> y = min(broadcast<T>(0x1p100), abs(z));
    return copysign(y / (broadcast<T>(1) + y), z);
  }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) {
    const Vec<T> rest = broadcast<T>(1) - abs(a);
    return rest * rest;
  }
};

// e^z;  a
template <class T> struct Exponential {
  static constexpr bool kKeepsZ = false;
  static BP_INLINE Vec<T> f(Vec<T> z, Vec<T>) { return exp(z); }
  static BP_INLINE Vec<T> df(Vec<T> a, Vec<T>) { return a; }
};

}  // namespace bp::BP_TIER
