#include "solve/curvature.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

template <class T> T held(T p) {
  constexpr T kEps = sizeof(T) == 4 ? T(1e-7) : T(1e-15);
  return std::clamp(p, kEps, T(1) - kEps);
}

// The target of a cross entropy, smoothed.
template <class T> T class_target(const LossArgs<T>& u, std::int64_t r, std::int64_t j) {
  const T t = u.label != nullptr ? static_cast<T>(u.label[r] == j) : u.target[r * u.n + j];
  return t * (T(1) - u.options[0]) + u.options[0] / static_cast<T>(u.n);
}

template <class T> T weight_of(const LossArgs<T>& u, std::int64_t r, std::int64_t j) {
  if (u.weight == nullptr) return u.scale;
  return u.scale * (u.weigh_terms ? u.weight[r * u.targets + j % u.targets] : u.weight[r]);
}

// One value's second derivative, without weight: z the prediction, f a function of it (see prepared()).
template <class T> T second(Loss kind, const LossArgs<T>& u, std::int64_t r, std::int64_t j, T z, T f, bool expected) {
  const std::int64_t i = r * u.n + j;
  const T share = T(1) / static_cast<T>(u.n);
  const auto target = [&] { return expected ? T(0) : u.target[i]; };
  const T positive = u.positive != nullptr ? u.positive[j] : T(1);
  const auto smooth = [&](T t) { return t * (T(1) - u.options[0]) + u.options[0] / T(2); };
  switch (kind) {
    case Loss::kMeanSquaredError: return T(2) * share;
    case Loss::kHalfSquaredError: return T(1);
    case Loss::kHuber: return std::abs(z - target()) <= u.options[0] ? share : T(0);
    case Loss::kLogCosh: return (T(1) - f * f) * share;
    case Loss::kBinaryCrossEntropy: {
      const T p = held(z), t = expected ? p : smooth(target());
      return (positive * t / (p * p) + (T(1) - t) / ((T(1) - p) * (T(1) - p))) * share;
    }
    case Loss::kBinaryCrossEntropyLogits: {
      const T t = expected ? f : smooth(target());
      return (T(1) - t + positive * t) * f * (T(1) - f) * share;
    }
    case Loss::kCrossEntropy: {
      const T p = held(z);
      return (expected ? p : class_target(u, r, j)) / (p * p);
    }
    case Loss::kKlDivergence: {
      const T p = held(z);
      return (expected ? p : std::max(target(), T(0))) / (p * p);
    }
    case Loss::kPoisson: {
      const T q = std::max(T(1e-7), z + T(1e-7));
      return (expected ? std::max(z, T(0)) : target()) / (q * q) * share;
    }
    default: return T(0);  // straight: mean_absolute_error, hinge, quantile
  }
}

// h = f of all predictions, as second() wants it.
template <class T> void prepared(Loss kind, const LossArgs<T>& u, T* h) {
  const std::int64_t n = u.rows * u.n;
  if (kind == Loss::kLogCosh) {
    for (std::int64_t i = 0; i < n; ++i) h[i] = u.prediction[i] - u.target[i];
    kernels<T>().activate[static_cast<int>(Activation::kTanh)](h, h, n, T(0));
  } else if (kind == Loss::kBinaryCrossEntropyLogits) {
    kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](u.prediction, h, n, T(0));
  }
}

// Of targets K a row: h holds a K values, b K values, c K values.
template <class T> void measure_gaussian(const LossArgs<T>& u, bool expected, T* h) {
  const std::int64_t k = u.targets;
  const T share = T(1) / static_cast<T>(k);
  for (std::int64_t r = 0; r < u.rows; ++r, h += 3 * k) {
    const T *m = u.prediction + r * u.n, *s = m + k;
    for (std::int64_t j = 0; j < k; ++j) h[j] = -std::max(s[j], u.options[0]);
    kernels<T>().math[static_cast<int>(Math::kExp)](h, h, k);
    for (std::int64_t j = 0; j < k; ++j) {
      const T residual = expected ? T(0) : m[j] - u.target[r * k + j];
      const T a = h[j] * weight_of(u, r, j) * share;
      h[j] = a;
      h[k + j] = -residual * a;
      h[2 * k + j] = expected ? weight_of(u, r, j) * share / T(2) : residual * residual * a / T(2);
    }
  }
}

}  // namespace

template <class T> bool is_sum_of_squares(const BoundLoss<T>& loss) {
  return loss.config.whole == nullptr &&
         (loss.config.kind == Loss::kMeanSquaredError || loss.config.kind == Loss::kHalfSquaredError);
}

template <class T> bool has_factor(const BoundLoss<T>& loss) {
  const Loss kind = loss.config.kind;
  return is_sum_of_squares(loss) || (loss.config.whole == nullptr &&
                                     (kind == Loss::kCrossEntropyLogits || kind == Loss::kBinaryCrossEntropyLogits));
}

template <class T> bool has_likelihood(const BoundLoss<T>& loss) {
  if (loss.config.whole != nullptr || !loss.positive.empty()) return false;
  switch (loss.config.kind) {
    case Loss::kMeanSquaredError:
    case Loss::kHalfSquaredError:
    case Loss::kBinaryCrossEntropy:
    case Loss::kBinaryCrossEntropyLogits:
    case Loss::kCrossEntropy:
    case Loss::kCrossEntropyLogits:
    case Loss::kKlDivergence:
    case Loss::kPoisson:
    case Loss::kGaussianNll: return true;
    default: return false;
  }
}

template <class T> void measure_curvature(const BoundLoss<T>& loss, const LossArgs<T>& u, bool expected, T* h) {
  check(loss.config.whole == nullptr, "a loss in Python has no second derivative");
  const Loss kind = loss.config.kind;
  if (kind == Loss::kGaussianNll) return measure_gaussian(u, expected, h);
  if (kind == Loss::kCrossEntropyLogits) {
    T* const row_factor = h + u.rows * u.n;
    kernels<T>().softmax(u.prediction, h, u.rows, u.n);
    for (std::int64_t r = 0; r < u.rows; ++r) {
      T total = 0;
      for (std::int64_t j = 0; j < u.n && !expected; ++j) total += class_target(u, r, j);
      row_factor[r] = (expected ? T(1) : total) * weight_of(u, r, 0);
    }
    return;
  }
  prepared(kind, u, h);
  for (std::int64_t r = 0; r < u.rows; ++r) {
    for (std::int64_t j = 0; j < u.n; ++j, ++h) {
      *h = weight_of(u, r, j) * second(kind, u, r, j, u.prediction[r * u.n + j], *h, expected);
    }
  }
}

template <class T>
void times_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, const T* h, const T* u, T* out) {
  const std::int64_t n = rows.n;
  if (loss.config.kind == Loss::kGaussianNll) {
    const std::int64_t k = rows.targets;
    for (std::int64_t r = 0; r < rows.rows; ++r, h += 3 * k, u += n, out += n) {
      for (std::int64_t j = 0; j < k; ++j) {
        out[j] = h[j] * u[j] + h[k + j] * u[k + j];
        out[k + j] = h[k + j] * u[j] + h[2 * k + j] * u[k + j];
      }
    }
    return;
  }
  if (loss.config.kind != Loss::kCrossEntropyLogits) {
    for (std::int64_t i = 0; i < rows.rows * n; ++i) out[i] = h[i] * u[i];
    return;
  }
  const T* const row_factor = h + rows.rows * n;
  for (std::int64_t r = 0; r < rows.rows; ++r, h += n, u += n, out += n) {
    T mean = 0;
    for (std::int64_t j = 0; j < n; ++j) mean += h[j] * u[j];
    for (std::int64_t j = 0; j < n; ++j) out[j] = row_factor[r] * h[j] * (u[j] - mean);
  }
}

template <class T>
void factor_of_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, const T* h, std::int64_t j, T* out) {
  const std::int64_t n = rows.n;
  std::fill_n(out, rows.rows * n, T(0));
  if (loss.config.kind != Loss::kCrossEntropyLogits) {
    for (std::int64_t r = 0; r < rows.rows; ++r) out[r * n + j] = std::sqrt(h[r * n + j]);
    return;
  }
  const T* const row_factor = h + rows.rows * n;
  for (std::int64_t r = 0; r < rows.rows; ++r, h += n, out += n) {
    const T root = std::sqrt(row_factor[r] * h[j]);
    for (std::int64_t c = 0; c < n; ++c) out[c] = root * ((c == j ? T(1) : T(0)) - h[c]);
  }
}

template <class T>
void draw_of_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, const T* h, const RandomStream& random,
                       std::int64_t first, T* out) {
  constexpr std::int64_t kGroup = 64;  // numbers of a stream that are made at once
  const std::int64_t n = rows.n, groups = (n + kGroup - 1) / kGroup;
  const Loss kind = loss.config.kind;
  const T* const row_factor = h + rows.rows * n;
  const auto number = [](std::uint32_t bits) { return static_cast<T>((static_cast<double>(bits) + 0.5) * 0x1p-32); };
  if (kind == Loss::kBinaryCrossEntropyLogits) {
    kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](rows.prediction, out, rows.rows * n, T(0));
  }
  for (std::int64_t r = 0; r < rows.rows; ++r, h += n, out += n) {
    const auto group = static_cast<std::uint64_t>((first + r) * groups);
    std::uint32_t bits[kGroup];
    if (is_sum_of_squares(loss)) {
      kernels<T>().random_normal(random.seed, random.stream, group, n, T(0), T(1), out);
      for (std::int64_t j = 0; j < n; ++j) out[j] *= std::sqrt(h[j]);
      continue;
    }
    if (kind == Loss::kCrossEntropyLogits) {
      kernels<T>().random_bits(random.seed, random.stream, group, 1, bits);
      T left = number(bits[0]);
      std::int64_t drawn = 0;
      while (drawn + 1 < n && left >= h[drawn]) left -= h[drawn++];
      const T root = std::sqrt(row_factor[r]);
      for (std::int64_t j = 0; j < n; ++j) out[j] = root * (h[j] - (j == drawn ? T(1) : T(0)));
      continue;
    }
    for (std::int64_t j = 0; j < n; ++j) {
      if (j % kGroup == 0) {
        const std::uint64_t own = group + static_cast<std::uint64_t>(j / kGroup);
        kernels<T>().random_bits(random.seed, random.stream, own, std::min(kGroup, n - j), bits);
      }
      const T p = out[j];
      out[j] = number(bits[j % kGroup]) < p ? -std::sqrt(h[j] * (T(1) - p) / p) : std::sqrt(h[j] * p / (T(1) - p));
    }
  }
}

#define BP_INSTANTIATE_CURVATURE(T)                                                                       \
  template bool is_sum_of_squares(const BoundLoss<T>&);                                                   \
  template bool has_factor(const BoundLoss<T>&);                                                          \
  template bool has_likelihood(const BoundLoss<T>&);                                                      \
  template void measure_curvature(const BoundLoss<T>&, const LossArgs<T>&, bool, T*);                     \
  template void times_curvature(const BoundLoss<T>&, const LossArgs<T>&, const T*, const T*, T*);         \
  template void factor_of_curvature(const BoundLoss<T>&, const LossArgs<T>&, const T*, std::int64_t, T*); \
  template void draw_of_curvature(const BoundLoss<T>&, const LossArgs<T>&, const T*, const RandomStream&, \
                                  std::int64_t, T*);
BP_INSTANTIATE_CURVATURE(float)
BP_INSTANTIATE_CURVATURE(double)

}  // namespace bp
