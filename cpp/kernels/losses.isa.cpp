// The losses: a value per row and delta = scale * weight * d loss / d prediction, in one pass over the row.
//
//   cross_entropy         loss = -sum t' log p, t' = (1 - s) t + s / n      dp = -t' / p
//   cross_entropy_logits  loss = S log(sum e) - sum t' (z - m), S = sum t'   dz = S e / sum e - t',  e = exp(z - m)
//   quantile              loss = mean over Q blocks of K values of the pinball loss at the block's level
//   gaussian_nll          loss = mean of (s + r^2) / 2 + c, r = (m - t) exp(-s / 2)
//                         dm = r exp(-s / 2) / K, ds = (1 - r^2) / (2 K); the row is K means m, K log-variances s
//
// s is the label smoothing of the cross entropies. A label y stands for the distribution that is 1 at y. The others
// are in kernels/losses.h. Sums follow kernels/reduce.h. A row or term of weight 0 has loss 0 and delta 0 even where
// its loss overflows.
#include "kernels/losses.h"

#include "kernels/reduce.h"
#include "kernels/table.h"
#include "kernels/transpose.h"

namespace bp::BP_TIER {

template <class T> BP_INLINE T weigh(T weight, T loss) { return weight == T(0) ? T(0) : weight * loss; }
template <class T> BP_INLINE Vec<T> weigh(Vec<T> weight, Vec<T> loss) {
  return select(weight == broadcast<T>(0), weight, weight * loss);
}
template <class T> BP_INLINE T weight_of(const LossArgs<T>& u, std::int64_t r) {
  return u.weight != nullptr ? u.weight[r] : T(1);
}
// The weight of a row, or of each of its terms.
template <class T> class RowWeight {
 public:
  BP_INLINE RowWeight(const LossArgs<T>& u, std::int64_t r, T share)
      : terms_(u.weigh_terms ? u.weight + r * u.targets : nullptr), row_(terms_ != nullptr ? T(1) : weight_of(u, r)),
        gain_(row_ * u.scale / share) {}
  template <class At> BP_INLINE Vec<T> term(At at, Vec<T> loss) const {
    return terms_ != nullptr ? weigh(at.load(terms_), loss) : loss;
  }
  template <class At> BP_INLINE Vec<T> gain(At at) const { return terms_ != nullptr ? at.load(terms_) * gain_ : gain_; }
  BP_INLINE T row(T loss) const { return weigh(row_, loss); }

 private:
  const T* terms_;
  T row_;
  Vec<T> gain_;
};
// Infinite slopes become the largest number, so that weight 0 takes them to 0.
template <class T> BP_INLINE Vec<T> finite(Vec<T> d) { return clamp(d, -kLargest<T>, kLargest<T>); }

// One output per row: rows are the lanes. f(p, t).
template <class T, class F> BP_INLINE void single_output(const LossArgs<T>& u, F f) {
  each_vector<T>(u.rows, [&](auto at) __attribute__((always_inline)) {
    const Vec<T> w = u.weight != nullptr ? at.load(u.weight) : broadcast<T>(1);
    const Term<T> term = f(at.load(u.prediction), at.load(u.target));
    at.store(u.row_loss, weigh(w, term.l));
    if (u.delta != nullptr) at.store(u.delta, finite(term.d) * (w * Vec<T>(u.scale)));
  });
}

// Several: f(at, p, t), the row's loss being the sum of the terms over `share`.
template <class T, class F> BP_INLINE void each_term(const LossArgs<T>& u, T share, F f) {
  for (std::int64_t r = 0; r < u.rows; ++r) {
    const T *p = u.prediction + r * u.n, *t = u.target + r * u.n;
    T* delta = u.delta != nullptr ? u.delta + r * u.n : nullptr;
    const RowWeight<T> weight(u, r, share);
    RowSum<T> sum;
    each_block<T>(u.n, [&](auto at, int q) __attribute__((always_inline)) {
      const Term<T> term = f(at, at.load(p), at.load(t));
      sum.add(q, at.keep(weight.term(at, term.l), broadcast<T>(0)));
      if (delta != nullptr) at.store(delta, finite(term.d) * weight.gain(at));
    });
    u.row_loss[r] = weight.row(sum.total() / share);
  }
}

template <class T, template <class> class F> static void termwise(const LossArgs<T>& u) {
  const F<T> f(u.options[0]);
  if (u.n == 1) return single_output(u, f);
  const T share = F<T>::kMean ? static_cast<T>(u.n) : T(1);
  each_term(u, share, [&](auto, Vec<T> p, Vec<T> t) __attribute__((always_inline)) { return f(p, t); });
}

template <class T, template <class> class F> static void binary(const LossArgs<T>& u) {
  if (u.positive == nullptr) return termwise<T, F>(u);
  const F<T> f(u.options[0]);
  if (u.n == 1) {
    const Vec<T> weight(u.positive[0]);
    return single_output(u, [&](Vec<T> p, Vec<T> t) __attribute__((always_inline)) { return f(p, t, weight); });
  }
  each_term(u, static_cast<T>(u.n), [&](auto at, Vec<T> p, Vec<T> t) __attribute__((always_inline)) {
    return f(p, t, at.load(u.positive));
  });
}

template <class T> static void quantile(const LossArgs<T>& u) {
  if (u.n == 1) return single_output(u, Pinball<T>(Vec<T>(u.options[0])));
  const T share = static_cast<T>(u.n);
  for (std::int64_t r = 0; r < u.rows; ++r) {
    const T *p = u.prediction + r * u.n, *t = u.target + r * u.targets;
    T* delta = u.delta != nullptr ? u.delta + r * u.n : nullptr;
    const RowWeight<T> weight(u, r, share);
    RowSum<T> sum;
    const auto add = [&](auto at, int q, std::int64_t start, Vec<T> level, Vec<T> target)
        __attribute__((always_inline)) {
      const Term<T> term = Pinball<T>(level)(at.load(p + start), target);
      sum.add(q, at.keep(weight.term(at, term.l), broadcast<T>(0)));
      if (delta != nullptr) at.store(delta + start, term.d * weight.gain(at));
    };
    if (u.targets == 1) {  // levels are the lanes
      each_block<T>(
          u.n, [&](auto at, int q) __attribute__((always_inline)) { add(at, q, 0, at.load(u.options), Vec<T>(*t)); });
    } else {
      for (std::int64_t start = 0; start < u.n; start += u.targets) {
        const Vec<T> level(u.options[start / u.targets]);
        each_block<T>(
            u.targets, [&](auto at, int q) __attribute__((always_inline)) { add(at, q, start, level, at.load(t)); });
      }
    }
    u.row_loss[r] = weight.row(sum.total() / share);
  }
}

template <class T> struct GaussianTerm {
  Vec<T> l, dm, ds;
};

// No finite input gives NaN: the residual is held finite, and exp(-s / 2) is at most 1 / sqrt(epsilon).
template <class T> BP_INLINE GaussianTerm<T> gaussian_term(const LossArgs<T>& u, Vec<T> m, Vec<T> s, Vec<T> t) {
  const Vec<T> half(T(0.5)), held = max(Vec<T>(u.options[0]), s), inverse = exp(held * -half);
  const Vec<T> ratio = finite(m - t) * inverse, square = ratio * ratio;
  return {fma(half, held + square, Vec<T>(u.options[1])), finite(ratio * inverse), finite(fnma(half, square, half))};
}

// One target a row: groups of rows are taken apart into means and log-variances, and rows are the lanes.
template <class T> static void gaussian_pairs(const LossArgs<T>& u) {
  constexpr std::int64_t kGroup = 64;
  T m[kGroup], s[kGroup];
  for (std::int64_t first = 0; first < u.rows; first += kGroup) {
    const std::int64_t count = u.rows - first < kGroup ? u.rows - first : kGroup;
    for (std::int64_t g = 0; g < count; ++g) {
      m[g] = u.prediction[2 * (first + g)];
      s[g] = u.prediction[2 * (first + g) + 1];
    }
    each_vector<T>(count, [&](auto at) __attribute__((always_inline)) {
      const Vec<T> w = u.weight != nullptr ? at.load(u.weight + first) : broadcast<T>(1), gain = w * Vec<T>(u.scale);
      const GaussianTerm<T> term = gaussian_term(u, at.load(m), at.load(s), at.load(u.target + first));
      at.store(u.row_loss + first, weigh(w, term.l));
      at.store(m, term.dm * gain);
      at.store(s, term.ds * gain);
    });
    for (std::int64_t g = 0; u.delta != nullptr && g < count; ++g) {
      u.delta[2 * (first + g)] = m[g];
      u.delta[2 * (first + g) + 1] = s[g];
    }
  }
}

template <class T> static void gaussian_nll(const LossArgs<T>& u) {
  if (u.targets == 1) return gaussian_pairs(u);
  const T share = static_cast<T>(u.targets);
  for (std::int64_t r = 0; r < u.rows; ++r) {
    const T *m = u.prediction + r * u.n, *s = m + u.targets, *t = u.target + r * u.targets;
    T* delta = u.delta != nullptr ? u.delta + r * u.n : nullptr;
    const RowWeight<T> weight(u, r, share);
    RowSum<T> sum;
    each_block<T>(u.targets, [&](auto at, int q) __attribute__((always_inline)) {
      const GaussianTerm<T> term = gaussian_term(u, at.load(m), at.load(s), at.load(t));
      sum.add(q, at.keep(weight.term(at, term.l), broadcast<T>(0)));
      if (delta == nullptr) return;
      const Vec<T> gain = weight.gain(at);
      at.store(delta, term.dm * gain);
      at.store(delta + u.targets, term.ds * gain);
    });
    u.row_loss[r] = weight.row(sum.total() / share);
  }
}

// t' of one row, from its distribution or its label.
template <class T> struct Targets {
  const T* row;
  Vec<T> label;  // lane numbers are compared as T: exact to 2^24 classes
  Vec<T> keep, spread;
  BP_INLINE Targets(const LossArgs<T>& u, std::int64_t r)
      : row(u.label == nullptr ? u.target + r * u.n : nullptr),
        label(u.label != nullptr ? static_cast<T>(u.label[r]) : T(-1)), keep(T(1) - u.options[0]),
        spread(u.options[0] / static_cast<T>(u.n)) {}
  template <class At> BP_INLINE Vec<T> load(At at) const {
    if (row != nullptr) return fma(at.load(row), keep, spread);
    const IntVec<T> hit = lane_of(at.start()) == label;
    return select(hit, keep + spread, spread);
  }
  static BP_INLINE Vec<T> lane_of(std::int64_t start) {
    const Vec<T> magic(MathFacts<T>::kMagic);
    return (from_bits<T>(to_bits(magic) + lane_numbers<T>()) - magic) + Vec<T>(static_cast<T>(start));
  }
};

template <class T> static void cross_entropy(const LossArgs<T>& u) {
  for (std::int64_t r = 0; r < u.rows; ++r) {
    const T* p = u.prediction + r * u.n;
    T* delta = u.delta != nullptr ? u.delta + r * u.n : nullptr;
    const T w = weight_of(u, r);
    const Vec<T> gain(-w * u.scale);
    const Targets<T> targets(u, r);
    RowSum<T> sum;
    each_block<T>(u.n, [&](auto at, int q) __attribute__((always_inline)) {
      const Vec<T> held = clamp(at.load(p), kProbabilityEps<T>, T(1) - kProbabilityEps<T>), t = targets.load(at);
      sum.add(q, at.keep(t * log(held), broadcast<T>(0)));
      if (delta != nullptr) at.store(delta, finite(t / held) * gain);
    });
    u.row_loss[r] = weigh(w, -sum.total());
  }
}

// Sums of one row of logits.
template <class T> struct LogitSums {
  T exps, targets, linear;
};  // sum e, sum t', sum t' (z - m)

// z - m, held finite so that a target of 0 takes it to 0.
template <class T> BP_INLINE Vec<T> shift(Vec<T> z, Vec<T> m) { return max(Vec<T>(-kLargest<T>), z - m); }

template <class T, class At> BP_INLINE Vec<T> add_logits(At at, int q, Vec<T> shifted, Vec<T> t, RowSum<T>* sums) {
  const Vec<T> zero = broadcast<T>(0), e = exp(shifted);
  sums[0].add(q, at.keep(e, zero));
  sums[1].add(q, at.keep(t, zero));
  sums[2].add(q, at.keep(t * shifted, zero));
  return e;
}

template <class T> BP_INLINE Vec<T> logit_delta(Vec<T> e, Vec<T> share, Vec<T> t, Vec<T> gain) {
  return fma(e, share, -t) * gain;
}

template <class T>
BP_INLINE LogitSums<T> logits_of_row(const T* z, T* delta, std::int64_t n, const Targets<T>& targets, T gain) {
  const Vec<T> m(row_max(z, n));
  RowSum<T> sums[3];
  each_block<T>(n, [&](auto at, int q) __attribute__((always_inline)) {
    const Vec<T> e = add_logits(at, q, shift(at.load(z), m), targets.load(at), sums);
    if (delta != nullptr) at.store(delta, e);
  });
  const LogitSums<T> result{sums[0].total(), sums[1].total(), sums[2].total()};
  if (delta != nullptr) {
    const Vec<T> share(result.targets / result.exps), by(gain);
    each_block<T>(n, [&](auto at, int) __attribute__((always_inline)) {
      at.store(delta, logit_delta(at.load(delta), share, targets.load(at), by));
    });
  }
  return result;
}

// What rows of at most W classes need, rows as lanes: values of class c at [c].
template <class T> struct ClassLanes {
  T of[Vec<T>::kWidth][Vec<T>::kWidth];
  BP_INLINE Vec<T> operator[](std::int64_t c) const { return load(of[c]); }
  BP_INLINE void set(std::int64_t c, Vec<T> x) { store(of[c], x); }
  BP_INLINE void read(const T* x, std::int64_t rows, std::int64_t n) {
    transpose_padded<T>(x, n, of[0], Vec<T>::kWidth, rows, n);
  }
  // The sum over the classes, in the order of RowSum; overwrites them.
  BP_INLINE Vec<T> sum(std::int64_t n) {
    for (std::int64_t step = kBlock<T> / 2; step > 0; step /= 2) {
      for (std::int64_t c = 0; c < step && c + step < n; ++c) set(c, (*this)[c] + (*this)[c + step]);
    }
    return (*this)[0] + broadcast<T>(0);  // never -0, as RowSum
  }
};

// At most W rows from row r, of at most W classes: the same bits as row by row, with W exponentials at once.
template <class T>
static void logits_across(const LossArgs<T>& u, std::int64_t r, std::int64_t rows, T* exps, T* targets, T* linear) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  ClassLanes<T> z, e, t, part;
  z.read(u.prediction + r * u.n, rows, u.n);
  const Vec<T> keep(T(1) - u.options[0]), spread(u.options[0] / static_cast<T>(u.n)), hit = keep + spread;
  if (u.label == nullptr) {
    t.read(u.target + r * u.n, rows, u.n);
    for (std::int64_t c = 0; c < u.n; ++c) t.set(c, fma(t[c], keep, spread));
  } else {
    T label[kWidth] = {};
    for (std::int64_t g = 0; g < rows; ++g) label[g] = static_cast<T>(u.label[r + g]);
    for (std::int64_t c = 0; c < u.n; ++c) t.set(c, select(load(label) == Vec<T>(static_cast<T>(c)), hit, spread));
  }
  Vec<T> most(static_cast<T>(-__builtin_inf()));
  for (std::int64_t c = 0; c < u.n; ++c) most = max(z[c], most);
  for (std::int64_t c = 0; c < u.n; ++c) {
    const Vec<T> shifted = shift(z[c], most);
    e.set(c, exp(shifted));
    z.set(c, t[c] * shifted);
  }
  store(linear, z.sum(u.n));
  part = e;
  const Vec<T> sum_exps = part.sum(u.n);
  store(exps, sum_exps);
  part = t;
  const Vec<T> sum_targets = part.sum(u.n);
  store(targets, sum_targets);
  if (u.delta == nullptr) return;
  const Vec<T> share = sum_targets / sum_exps;
  const Vec<T> gain = (u.weight != nullptr ? load_n(u.weight + r, rows) : broadcast<T>(1)) * Vec<T>(u.scale);
  for (std::int64_t c = 0; c < u.n; ++c) e.set(c, logit_delta(e[c], share, t[c], gain));
  transpose_one<T, false>(e.of[0], kWidth, u.delta + r * u.n, u.n, u.n, rows);
}

// Rows go in groups, so that the logarithm of their sums is taken for a vector of rows at once.
template <class T> static void cross_entropy_logits(const LossArgs<T>& u) {
  constexpr std::int64_t kGroup = 64, kWidth = Vec<T>::kWidth;
  T exps[kGroup], targets[kGroup], linear[kGroup];
  for (std::int64_t first = 0; first < u.rows; first += kGroup) {
    const std::int64_t count = u.rows - first < kGroup ? u.rows - first : kGroup;
    std::int64_t g = 0;
    if (u.n <= kWidth) {
      for (; count - g >= kWidth / 4; g += kWidth) {
        logits_across(u, first + g, count - g < kWidth ? count - g : kWidth, exps + g, targets + g, linear + g);
      }
    }
    for (; g < count; ++g) {
      const std::int64_t r = first + g;
      const T* z = u.prediction + r * u.n;
      T* delta = u.delta != nullptr ? u.delta + r * u.n : nullptr;
      const T gain = weight_of(u, r) * u.scale;
      const Targets<T> t(u, r);
      const LogitSums<T> sums = logits_of_row(z, delta, u.n, t, gain);
      exps[g] = sums.exps;
      targets[g] = sums.targets;
      linear[g] = sums.linear;
    }
    const T* weight = u.weight != nullptr ? u.weight + first : nullptr;
    each_vector<T>(count, [&](auto at) __attribute__((always_inline)) {
      const Vec<T> loss = fma(at.load(targets), log(at.load(exps)), -at.load(linear));
      at.store(u.row_loss + first, weight != nullptr ? weigh(at.load(weight), loss) : loss);
    });
  }
}

template <class T> void fill_losses(Kernels<T>& table) {
  const auto slot = [&](Loss which) -> auto& { return table.loss[static_cast<int>(which)]; };
  slot(Loss::kMeanSquaredError) = termwise<T, MeanSquaredError>;
  slot(Loss::kHalfSquaredError) = termwise<T, HalfSquaredError>;
  slot(Loss::kMeanAbsoluteError) = termwise<T, MeanAbsoluteError>;
  slot(Loss::kHuber) = termwise<T, Huber>;
  slot(Loss::kLogCosh) = termwise<T, LogCosh>;
  slot(Loss::kBinaryCrossEntropy) = binary<T, BinaryCrossEntropy>;
  slot(Loss::kBinaryCrossEntropyLogits) = binary<T, BinaryCrossEntropyLogits>;
  slot(Loss::kCrossEntropy) = cross_entropy<T>;
  slot(Loss::kCrossEntropyLogits) = cross_entropy_logits<T>;
  slot(Loss::kKlDivergence) = termwise<T, KlDivergence>;
  slot(Loss::kPoisson) = termwise<T, Poisson>;
  slot(Loss::kHinge) = termwise<T, Hinge>;
  slot(Loss::kQuantile) = quantile<T>;
  slot(Loss::kGaussianNll) = gaussian_nll<T>;
}

template void fill_losses(Kernels<float>&);
template void fill_losses(Kernels<double>&);

}  // namespace bp::BP_TIER
