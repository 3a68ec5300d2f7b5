// The optimizers' updates, one struct each: w and its slots from g, for one vector of parameters.
//
// Formulas are those of PyTorch 2's optimizer of that name (Lion: Chen et al. 2023, algorithm 2); t counts from 1,
// and what depends on t alone comes from train/optimizer.cpp in Hyper. Before each: w *= decoupled_decay, g +=
// l2_decay w. + - * / sqrt and fma only, so all tiers with FMA agree to the bit. Memory bound: bytes per parameter
// are sizeof(T) (3 + 2 slots); Adam: 28 bytes for float.
#pragma once

#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

template <class T> BP_INLINE Vec<T> sign_of(Vec<T> x) {  // -1, 0, 1; NaN stays NaN
  const Vec<T> zero(typename Vec<T>::N{});
  return select(x > zero, Vec<T>(T(1)), select(x < zero, Vec<T>(T(-1)), x));
}

// Gradient descent: w -= lr g.
template <class T> struct Sgd {
  static constexpr int kSlots = 0;
  Vec<T> rate;
  BP_INLINE explicit Sgd(const Hyper<T>& h) : rate(h.learning_rate) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>*) const { return fnma(rate, g, w); }
};

// v = mu v + g;  w -= lr v  (Nesterov: w -= lr (g + mu v)). Slot: v, from 0.
template <class T, bool kNesterov> struct Momentum {
  static constexpr int kSlots = 1;
  Vec<T> rate, mu;
  BP_INLINE explicit Momentum(const Hyper<T>& h) : rate(h.learning_rate), mu(h.momentum) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(mu, s[0], g);
    return fnma(rate, kNesterov ? fma(mu, s[0], g) : s[0], w);
  }
};

// Adagrad: s += g^2;  w -= lr g / (sqrt(s) + eps). Slot: s, from 0.
template <class T> struct Adagrad {
  static constexpr int kSlots = 1;
  Vec<T> rate, epsilon;
  BP_INLINE explicit Adagrad(const Hyper<T>& h) : rate(h.learning_rate), epsilon(h.epsilon) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(g, g, s[0]);
    return fnma(rate, g / (sqrt(s[0]) + epsilon), w);
  }
};

// RMSprop: s = rho s + (1 - rho) g^2;  u = g / (sqrt(s) + eps), centered: sqrt(s - c^2), c = rho c + (1 - rho) g;
// w -= lr u, with momentum v = mu v + u, w -= lr v. Slots: s, then v, then c, those in use. Hyper: beta_2 = rho;
// extra[0] != 0: momentum, extra[1] != 0: centered.
template <class T, bool kMomentum, bool kCentered> struct Rmsprop {
  static constexpr int kSlots = 1 + (kMomentum ? 1 : 0) + (kCentered ? 1 : 0);
  Vec<T> rate, mu, rho, rest, epsilon;
  BP_INLINE explicit Rmsprop(const Hyper<T>& h)
      : rate(h.learning_rate), mu(h.momentum), rho(h.beta_2), rest(h.one_minus_beta_2), epsilon(h.epsilon) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(rho, s[0], rest * g * g);
    Vec<T> variance = s[0];
    if constexpr (kCentered) {
      Vec<T>& mean = s[kSlots - 1];
      mean = fma(rho, mean, rest * g);
      variance = max(fnma(mean, mean, variance), Vec<T>(typename Vec<T>::N{}));  // rounding may leave it below 0
    }
    Vec<T> u = g / (sqrt(variance) + epsilon);
    if constexpr (kMomentum) u = s[1] = fma(mu, s[1], u);
    return fnma(rate, u, w);
  }
};

// Adadelta: s = rho s + (1 - rho) g^2;  u = g sqrt(d + eps) / sqrt(s + eps);  d = rho d + (1 - rho) u^2;  w -= lr u.
// Slots: s, d, from 0. Hyper: beta_2 = rho.
template <class T> struct Adadelta {
  static constexpr int kSlots = 2;
  Vec<T> rate, rho, rest, epsilon;
  BP_INLINE explicit Adadelta(const Hyper<T>& h)
      : rate(h.learning_rate), rho(h.beta_2), rest(h.one_minus_beta_2), epsilon(h.epsilon) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(rho, s[0], rest * g * g);
    const Vec<T> u = sqrt(s[1] + epsilon) / sqrt(s[0] + epsilon) * g;
    s[1] = fma(rho, s[1], rest * u * u);
    return fnma(rate, u, w);
  }
};

// Adam: m += (1 - b1) (g - m);  v = b2 v + (1 - b2) g^2; w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
// Slots: m, v; AMSGrad: x = max(x, v) in place of v in the step.
template <class T, bool kAmsgrad> struct Adam {
  static constexpr int kSlots = kAmsgrad ? 3 : 2;
  Vec<T> r1, b2, r2, epsilon, step, correction;
  BP_INLINE explicit Adam(const Hyper<T>& h)
      : r1(h.one_minus_beta_1), b2(h.beta_2), r2(h.one_minus_beta_2), epsilon(h.epsilon), step(h.step_size),
        correction(h.inv_sqrt_correction_2) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(r1, g - s[0], s[0]);
    s[1] = fma(b2, s[1], r2 * g * g);
    if constexpr (kAmsgrad) s[2] = max(s[2], s[1]);
    return fnma(step, s[0] / fma(sqrt(s[kSlots - 1]), correction, epsilon), w);
  }
};

// Adamax: m as Adam;  u = max(b2 u, |g| + eps);  w -= lr / (1 - b1^t) m / u. Slots: m, u.
template <class T> struct Adamax {
  static constexpr int kSlots = 2;
  Vec<T> r1, b2, epsilon, step;
  BP_INLINE explicit Adamax(const Hyper<T>& h)
      : r1(h.one_minus_beta_1), b2(h.beta_2), epsilon(h.epsilon), step(h.step_size) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(r1, g - s[0], s[0]);
    s[1] = max(b2 * s[1], abs(g) + epsilon);
    return fnma(step, s[0] / s[1], w);
  }
};

// Nadam (Dozat 2016 with PyTorch's mu_t = b1 (1 - 0.5 * 0.96^(t psi))): m, v as Adam; w -= (lr (1 - mu_t) / (1 - P_t)
// g + lr mu_t+1 / (1 - P_t mu_t+1) m) / (sqrt(v) / sqrt(1 - b2^t) + eps), P_t = mu_1 .. mu_t. Slots: m, v. Hyper:
// extra[0], extra[1] are the factors of g and m.
template <class T> struct Nadam {
  static constexpr int kSlots = 2;
  Vec<T> r1, b2, r2, epsilon, correction, of_g, of_m;
  BP_INLINE explicit Nadam(const Hyper<T>& h)
      : r1(h.one_minus_beta_1), b2(h.beta_2), r2(h.one_minus_beta_2), epsilon(h.epsilon),
        correction(h.inv_sqrt_correction_2), of_g(h.extra[0]), of_m(h.extra[1]) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    s[0] = fma(r1, g - s[0], s[0]);
    s[1] = fma(b2, s[1], r2 * g * g);
    return w - fma(of_g, g, of_m * s[0]) / fma(sqrt(s[1]), correction, epsilon);
  }
};

// Lion: w -= lr sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g. Slot: m.
template <class T> struct Lion {
  static constexpr int kSlots = 1;
  Vec<T> rate, b1, r1, b2, r2;
  BP_INLINE explicit Lion(const Hyper<T>& h)
      : rate(h.learning_rate), b1(h.beta_1), r1(h.one_minus_beta_1), b2(h.beta_2), r2(h.one_minus_beta_2) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    const Vec<T> direction = sign_of(fma(b1, s[0], r1 * g));
    s[0] = fma(b2, s[0], r2 * g);
    return fnma(rate, direction, w);
  }
};

// Rprop as PyTorch's, which is iRprop- (Igel and Huesken 2000): p = g g_before; d *= eta+ if p > 0, eta- if p < 0,
// within its limits; g = 0 where p < 0;  w -= sign(g) d;  g_before = g. Slots: g_before from 0, d from lr. Hyper:
// extra[0 .. 3] are eta-, eta+ and the limits of d.
template <class T> struct Rprop {
  static constexpr int kSlots = 2;
  Vec<T> shrink, grow, low, high;
  BP_INLINE explicit Rprop(const Hyper<T>& h)
      : shrink(h.extra[0]), grow(h.extra[1]), low(h.extra[2]), high(h.extra[3]) {}
  BP_INLINE Vec<T> operator()(Vec<T> w, Vec<T> g, Vec<T>* s) const {
    const Vec<T> zero(typename Vec<T>::N{});
    // Signs, not the gradients' product: that may underflow to 0.
    const Vec<T> agreement = sign_of(g) * sign_of(s[0]);
    const Vec<T> factor = select(agreement > zero, grow, select(agreement < zero, shrink, Vec<T>(T(1))));
    s[1] = min(max(s[1] * factor, low), high);
    s[0] = select(agreement < zero, zero, g);
    return fnma(sign_of(s[0]), s[1], w);
  }
};

template <class T, class Rule> void update(const UpdateArgs<T>& u) {
  const Rule rule(u.hyper);
  const Vec<T> keep(u.hyper.decoupled_decay), l2(u.hyper.l2_decay);
  for (std::int64_t row = 0; row < u.rows; ++row) {
    T* const weights = u.w + row * u.stride;
    const T* const gradient = u.g + row * u.n;
    T* slot[kMaxSlots];
    BP_UNROLL(3)
    for (int i = 0; i < Rule::kSlots; ++i) slot[i] = u.slot[i] + row * u.stride;
    each_vector<T>(u.n, [&](auto at) __attribute__((always_inline)) {
      const Vec<T> w = at.load(weights) * keep;
      const Vec<T> g = fma(l2, w, at.load(gradient));
      Vec<T> s[kMaxSlots];
      BP_UNROLL(3)
      for (int i = 0; i < Rule::kSlots; ++i) s[i] = at.load(slot[i]);
      at.store(weights, rule(w, g, s));
      BP_UNROLL(3)
      for (int i = 0; i < Rule::kSlots; ++i) at.store(slot[i], s[i]);
    });
  }
}

}  // namespace bp::BP_TIER
