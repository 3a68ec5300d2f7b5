// The losses that are a sum or mean of one term per output, one struct each: term l and derivative d = dl/dp.
//
// kMean: the row's loss is the mean of the terms, else their sum. Probabilities p are held in [eps, 1 - eps]
// (kl_divergence: [eps, 1]), eps = 1e-7 in float32 and 1e-15 in float64; d is the formula at the p so held. No
// finite input gives NaN.
#pragma once

#include "kernels/activations.h"

namespace bp::BP_TIER {

template <class T> constexpr T kProbabilityEps = sizeof(T) == 4 ? T(1e-7) : T(1e-15);
template <class T> constexpr T kLargest = sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023);

template <class T> struct Term {
  Vec<T> l, d;
};

// (p - t)^2;  2 (p - t)
template <class T> struct MeanSquaredError {
  static constexpr bool kMean = true;
  BP_INLINE explicit MeanSquaredError(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> e = p - t;
    return {e * e, e + e};
  }
};

// (p - t)^2 / 2;  p - t
template <class T> struct HalfSquaredError {
  static constexpr bool kMean = false;
  BP_INLINE explicit HalfSquaredError(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> e = p - t;
    return {e * (e * broadcast<T>(0.5)), e};
  }
};

// |p - t|;  sign(p - t), 0 at 0
template <class T> struct MeanAbsoluteError {
  static constexpr bool kMean = true;
  BP_INLINE explicit MeanAbsoluteError(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> e = p - t;
    return {abs(e), select(e == broadcast<T>(0), broadcast<T>(0), copysign(broadcast<T>(1), e))};
  }
};

// e^2/2 where |e| <= c, else c (|e| - c/2);  clamp(e, -c, c) (Huber 1964)
template <class T> struct Huber {
  static constexpr bool kMean = true;
  T c;
  BP_INLINE explicit Huber(T option) : c(option) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> e = p - t, d = clamp(e, -c, c), size = abs(d);
    return {size * fnma(size, broadcast<T>(0.5), abs(e)), d};
  }
};

// log cosh e = |e| - log 2 + log(1 + exp(-2|e|)), and -log(1 - tanh(e)^2) / 2 where |e| < 1 and that would cancel;
// tanh e
template <class T> struct LogCosh {
  static constexpr bool kMean = true;
  BP_INLINE explicit LogCosh(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> e = p - t, size = abs(e), d = tanh(e);
    const IntVec<T> small = size < broadcast<T>(1);
    const Vec<T> log_part = log1p(select(small, -(d * d), exp(size * broadcast<T>(-2))));
    const Vec<T> large = (size - broadcast<T>(0.69314718055994530942)) + log_part;
    return {select(small, log_part * broadcast<T>(-0.5), large), d};
  }
};

template <class T> BP_INLINE Vec<T> smooth_binary(Vec<T> t, T smoothing) {  // t (1 - s) + s/2
  return fma(t, Vec<T>(T(1) - smoothing), Vec<T>(smoothing * T(0.5)));
}

// -(t log p + (1 - t) log(1 - p));  (p - t) / (p (1 - p)).  With a weight q of what is true, q t for the first t:
// -(q t log p + (1 - t) log(1 - p));  ((1 - t) p - q t (1 - p)) / (p (1 - p))
template <class T> struct BinaryCrossEntropy {
  static constexpr bool kMean = true;
  T smoothing;
  BP_INLINE explicit BinaryCrossEntropy(T option) : smoothing(option) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> one = broadcast<T>(1);
    p = clamp(p, kProbabilityEps<T>, T(1) - kProbabilityEps<T>);
    t = smooth_binary(t, smoothing);
    return {-fma(t, log(p), (one - t) * log1p(-p)), (p - t) / (p * (one - p))};
  }
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t, Vec<T> q) const {
    const Vec<T> one = broadcast<T>(1);
    p = clamp(p, kProbabilityEps<T>, T(1) - kProbabilityEps<T>);
    t = smooth_binary(t, smoothing);
    const Vec<T> yes = q * t, no = one - t;
    return {-fma(yes, log(p), no * log1p(-p)), fnma(yes, one - p, no * p) / (p * (one - p))};
  }
};

// log(1 + e^z) - t z;  sigmoid(z) - t.  With a weight q of what is true, c = 1 - t + q t:
// (1 - t) max(0, z) + q t max(0, -z) + c log(1 + e^-|z|);  c sigmoid(z) - q t
template <class T> struct BinaryCrossEntropyLogits {
  static constexpr bool kMean = true;
  T smoothing;
  BP_INLINE explicit BinaryCrossEntropyLogits(T option) : smoothing(option) {}
  BP_INLINE Term<T> operator()(Vec<T> z, Vec<T> t) const {
    t = smooth_binary(t, smoothing);
    const Vec<T> e = exp(-abs(z)), linear = fnma(t, z, max(broadcast<T>(0), z));
    return {linear + log1p_unit(e), sigmoid_from(z, e).value - t};
  }
  BP_INLINE Term<T> operator()(Vec<T> z, Vec<T> t, Vec<T> q) const {
    t = smooth_binary(t, smoothing);
    const Vec<T> yes = q * t, no = broadcast<T>(1) - t, both = no + yes, e = exp(-abs(z));
    const Vec<T> linear = select(z > broadcast<T>(0), no, -yes) * z;
    return {fma(both, log1p_unit(e), linear), fma(both, sigmoid_from(z, e).value, -yes)};
  }
};

// t log(t / p), 0 where t <= 0;  -t / p
template <class T> struct KlDivergence {
  static constexpr bool kMean = false;
  BP_INLINE explicit KlDivergence(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> zero = broadcast<T>(0), ratio = t / clamp(p, kProbabilityEps<T>, T(1));
    const IntVec<T> none = t <= zero;
    return {select(none, zero, t * log(ratio)), select(none, zero, -ratio)};
  }
};

// p - t log(p + eps), p + eps held at eps or more, eps = 1e-7 (Keras);  1 - t / (p + eps). The sum of terms that
// are out of the domain (p < 0) must not meet an infinite one of the other sign.
template <class T> struct Poisson {
  static constexpr bool kMean = true;
  BP_INLINE explicit Poisson(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> q = max(broadcast<T>(1e-7), p + broadcast<T>(1e-7));
    const Vec<T> low(-kLargest<T> * T(0x1p-40));
    return {fnma(t, log(q), max(low, p)), broadcast<T>(1) - t / q};
  }
};

// max(0, 1 - t p), a target 0 standing for -1;  -t where that is above 0
template <class T> struct Hinge {
  static constexpr bool kMean = true;
  BP_INLINE explicit Hinge(T) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> zero = broadcast<T>(0);
    t = select(t == zero, broadcast<T>(-1), t);
    const Vec<T> margin = fnma(t, p, broadcast<T>(1));
    return {max(zero, margin), select(margin > zero, -t, zero)};
  }
};

// q e where e = t - p > 0, else (q - 1) e, q the level;  -q, 1 - q, and 0 at e = 0 (Koenker & Bassett 1978)
template <class T> struct Pinball {
  Vec<T> level;
  BP_INLINE explicit Pinball(Vec<T> q) : level(q) {}
  BP_INLINE Term<T> operator()(Vec<T> p, Vec<T> t) const {
    const Vec<T> e = t - p, zero = broadcast<T>(0);
    const Vec<T> slope = select(e > zero, level, level - broadcast<T>(1));
    return {slope * e, select(e == zero, zero, -slope)};
  }
};

}  // namespace bp::BP_TIER
