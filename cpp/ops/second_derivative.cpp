#include "ops/second_derivative.h"

#include <cmath>

namespace bp {

template <class T> void second_derivative(Activation f, const T* z, const T* a, T* d, std::int64_t n, T alpha) {
  const auto each = [&](auto g) {
    for (std::int64_t i = 0; i < n; ++i) d[i] = g(i);
  };
  const auto with = [&](Activation inner) { kernels<T>().activate[static_cast<int>(inner)](z, d, n, T(0)); };
  constexpr T kNormal = T(0.39894228040143267794), kCubic = T(0.044715), kSlope = T(0.79788456080286535588);
  constexpr T kLambdaAlpha = T(1.7580993408473768599);
  switch (f) {
    case Activation::kSigmoid: return each([&](std::int64_t i) { return a[i] * (T(1) - a[i]) * (T(1) - T(2) * a[i]); });
    case Activation::kTanh: return each([&](std::int64_t i) { return T(-2) * a[i] * (T(1) - a[i] * a[i]); });
    case Activation::kElu: return each([&](std::int64_t i) { return z[i] > 0 ? T(0) : a[i] + alpha; });
    case Activation::kSelu: return each([&](std::int64_t i) { return z[i] > 0 ? T(0) : a[i] + kLambdaAlpha; });
    case Activation::kCelu:
      return each([&](std::int64_t i) { return z[i] > 0 ? T(0) : (a[i] / alpha + T(1)) / alpha; });
    case Activation::kExponential: return each([&](std::int64_t i) { return a[i]; });
    case Activation::kSoftsign:
      return each([&](std::int64_t i) {
        const T rest = T(1) - std::abs(a[i]);
        return (z[i] < 0 ? T(2) : z[i] > 0 ? T(-2) : T(0)) * rest * rest * rest;
      });
    case Activation::kSoftplus:  // s (1 - s), s = sigmoid(z) = 1 - exp(-a)
      each([&](std::int64_t i) { return -a[i]; });
      kernels<T>().math[static_cast<int>(Math::kExp)](d, d, n);
      return each([&](std::int64_t i) { return d[i] * (T(1) - d[i]); });
    case Activation::kSilu:
      with(Activation::kSigmoid);
      return each([&](std::int64_t i) { return d[i] * (T(1) - d[i]) * (T(2) + z[i] * (T(1) - T(2) * d[i])); });
    case Activation::kGelu:  // phi (2 - z^2)
      each([&](std::int64_t i) { return T(-0.5) * z[i] * z[i]; });
      kernels<T>().math[static_cast<int>(Math::kExp)](d, d, n);
      return each([&](std::int64_t i) { return kNormal * d[i] * (T(2) - z[i] * z[i]); });
    case Activation::kGeluTanh:  // z (1 + t) / 2, t = tanh(u)
      each([&](std::int64_t i) { return kSlope * (z[i] + kCubic * z[i] * z[i] * z[i]); });
      kernels<T>().activate[static_cast<int>(Activation::kTanh)](d, d, n, T(0));
      return each([&](std::int64_t i) {
        const T slope = kSlope * (T(1) + T(3) * kCubic * z[i] * z[i]), rest = T(1) - d[i] * d[i];
        const T once = rest * slope, twice = rest * T(6) * kSlope * kCubic * z[i] - T(2) * d[i] * once * slope;
        return once + z[i] * twice / T(2);
      });
    case Activation::kMish: {  // z t, t = tanh(softplus(z)), s = sigmoid(z)
      constexpr std::int64_t kPiece = 128;
      if (n > kPiece) {
        second_derivative(f, z + kPiece, a + kPiece, d + kPiece, n - kPiece, alpha);
        n = kPiece;
      }
      T s[kPiece];
      kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](z, s, n, T(0));
      with(Activation::kSoftplus);
      kernels<T>().activate[static_cast<int>(Activation::kTanh)](d, d, n, T(0));
      return each([&](std::int64_t i) {
        const T rest = T(1) - d[i] * d[i], once = rest * s[i];
        return T(2) * once + z[i] * (once * (T(1) - s[i]) - T(2) * d[i] * once * s[i]);
      });
    }
    default:  // straight pieces
      return each([](std::int64_t) { return T(0); });
  }
}

template void second_derivative(Activation, const float*, const float*, float*, std::int64_t, float);
template void second_derivative(Activation, const double*, const double*, double*, std::int64_t, double);

}  // namespace bp
