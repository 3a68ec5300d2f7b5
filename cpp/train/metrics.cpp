#include "train/metrics.h"

#include "train/steps.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace bp {
namespace {

template <class T> std::int64_t argmax(const T* x, std::int64_t n) { return std::max_element(x, x + n) - x; }

// Of row `place` of all the batch's rows of `classes` classes; -1 for a label that names none.
template <class T> std::int64_t true_class(const OutputBatch<T>& b, std::int64_t place, std::int64_t classes) {
  if (b.label == nullptr) return argmax(b.target + place * classes, classes);
  const std::int64_t label = b.label[place];
  return label < classes ? label : -1;
}

// log(p / (1 - p)) of every class of a row, p the softmax of its logits z.
template <class T> void log_odds(const T* z, std::int64_t n, double* odds) {
  if (n == 2) {  // exactly
    odds[1] = static_cast<double>(z[1]) - static_cast<double>(z[0]);
    odds[0] = -odds[1];
    return;
  }
  const std::int64_t top = argmax(z, n);
  double others = 0;  // sum of exp(z - z[top]) but for the largest, which would hide it
  for (std::int64_t k = 0; k < n; ++k) {
    odds[k] = static_cast<double>(z[k]) - static_cast<double>(z[top]);
    if (k != top) others += std::exp(odds[k]);
  }
  for (std::int64_t k = 0; k < n; ++k) odds[k] -= std::log(k == top ? others : 1 + (others - std::exp(odds[k])));
}

}  // namespace

template <class T> Metric<T>::Metric(MetricConfig<T> config) : config_(std::move(config)) {
  const bool two = config_.classes == 2 && !config_.labels;
  columns_ = config_.classes;
  if (config_.kind == MetricKind::kCounts && config_.classes == 1) columns_ = 2;  // false and true
  if (config_.kind == MetricKind::kAuc && two) columns_ = 1;                      // the second class
  cut_ = config_.threshold;
  if (config_.scores != Scores::kValues) cut_ = std::log(cut_ / (1 - cut_));
  reset();
}

template <class T> bool Metric<T>::needs_values() const {
  switch (config_.kind) {
    case MetricKind::kMae:
    case MetricKind::kMse:
    case MetricKind::kR2:
    case MetricKind::kUser: return true;
    default: return false;
  }
}

template <class T> bool Metric<T>::needs_dense_target() const {
  const MetricKind kind = config_.kind;
  return kind == MetricKind::kBinaryAccuracy || kind == MetricKind::kMae || kind == MetricKind::kMse ||
         kind == MetricKind::kR2 || (config_.labels && (kind == MetricKind::kCounts || kind == MetricKind::kAuc));
}

template <class T> void Metric<T>::reset() {
  scores_.clear();
  weights_.clear();
  positive_.clear();
  sums_.assign(static_cast<std::size_t>(sums_size()), 0.0);
}

template <class T> bool Metric<T>::weighs_values() const {
  switch (config_.kind) {
    case MetricKind::kAccuracy:
    case MetricKind::kTopK:
    case MetricKind::kAuc: return false;
    case MetricKind::kCounts: return config_.labels;
    default: return true;
  }
}

template <class T> void Metric<T>::add(const OutputBatch<T>& all) {
  OutputBatch<T> batch = all;
  if (!config_.weighted || batch.weight == nullptr) {
    batch.weight = batch.valid;  // what does not count has weight 0
    batch.weights = batch.valid == nullptr ? 1 : batch.steps;
    batch.weight_axes = batch.valid == nullptr ? 0 : 1;
  }
  if (config_.kind == MetricKind::kUser) {
    if (!config_.weighted) batch.weight = nullptr, batch.weights = 1, batch.weight_axes = 0;
    return config_.user->add(ValidRows<T>(batch).batch());
  }
  std::vector<T> shared;
  batch = by_steps(batch, &shared);
  const auto add_value = [&](double value, double weight) {
    sums_[0] += weight * value;
    sums_[1] += weight;
  };
  for (std::int64_t part = 0; part < batch.n * batch.weights; ++part) {
    const double weight = batch.weight != nullptr ? static_cast<double>(batch.weight[part]) : 1.0;
    switch (config_.kind) {
      case MetricKind::kCounts:
        if (config_.labels && config_.classes > 1) {
          add_labels(batch, part, weight);
        } else {
          add_counts(batch, part, weight);
        }
        break;
      case MetricKind::kAuc: add_scores(batch, part, weight); break;
      case MetricKind::kR2: add_r2(batch, part, weight); break;
      case MetricKind::kAccuracy:
      case MetricKind::kTopK: add_value(share_of_hits(batch, part), weight); break;
      case MetricKind::kBinaryAccuracy: add_value(share_on_side(batch, part), weight); break;
      default: add_value(mean_error(batch, part), weight);
    }
  }
}

template <class T> Rows Metric<T>::rows_of(const OutputBatch<T>& b, std::int64_t part) const {
  const std::int64_t rows = b.positions * b.width / config_.classes / b.weights;
  return {part * rows, (part + 1) * rows};
}

// What is compared with cut_, and ranked: growing with the probability of each column. Of logits the log-odds, which do
// not run into each other at 0 and 1.
template <class T> const double* Metric<T>::scores_of(const OutputBatch<T>& b, std::int64_t row) {
  const std::int64_t n = config_.classes;
  const T* z = b.score + row * n;
  row_.resize(static_cast<std::size_t>(n));
  if (config_.scores == Scores::kClassLogits) {
    log_odds(z, n, row_.data());
  } else {
    std::transform(z, z + n, row_.begin(), [](T value) { return static_cast<double>(value); });
  }
  return row_.data();
}

// Of the rows those whose true class is the predicted one, or among the k first; ties count for the lower class.
template <class T> double Metric<T>::share_of_hits(const OutputBatch<T>& b, std::int64_t part) const {
  const std::int64_t n = config_.classes;
  const Rows rows = rows_of(b, part);
  double hits = 0;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const std::int64_t truth = true_class(b, row, n);
    const T* p = b.score + row * n;
    if (config_.kind == MetricKind::kAccuracy) {
      hits += argmax(p, n) == truth;
    } else if (truth >= 0) {
      std::int64_t before = 0;
      for (std::int64_t i = 0; i < n; ++i) before += p[i] > p[truth] || (p[i] == p[truth] && i < truth);
      hits += before < config_.k;
    }
  }
  return hits / static_cast<double>(rows.count());
}

// Of the values those on the right side of the threshold.
template <class T> double Metric<T>::share_on_side(const OutputBatch<T>& b, std::int64_t part) {
  const std::int64_t n = config_.classes, size = b.positions * b.width / b.weights;
  double right = 0;
  for (std::int64_t i = part * size; i < (part + 1) * size;) {
    const double* p = scores_of(b, i / n);
    const std::int64_t row = i / n * n, end = std::min(row + n, (part + 1) * size);
    for (; i < end; ++i) right += (p[i - row] > cut_) == (b.target[i] > T(0.5));
  }
  return right / static_cast<double>(size);
}

template <class T> double Metric<T>::mean_error(const OutputBatch<T>& b, std::int64_t part) const {
  const std::int64_t size = b.positions * b.target_width / b.weights;
  const T *p = b.point + part * size, *t = b.target + part * size;
  double sum = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const double error = static_cast<double>(p[i]) - static_cast<double>(t[i]);
    sum += config_.kind == MetricKind::kMae ? std::abs(error) : error * error;
  }
  return sum / static_cast<double>(size);
}

template <class T> void Metric<T>::add_counts(const OutputBatch<T>& b, std::int64_t part, double weight) {
  const std::int64_t n = config_.classes;
  const Rows rows = rows_of(b, part);
  double *const hits = sums_.data(), *const predicted = hits + columns_, *const positive = predicted + columns_;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const T* p = b.score + row * n;
    const std::int64_t truth = n == 1 ? b.target[row] > T(0.5) : true_class(b, row, n);
    const std::int64_t guess = n == 1 ? static_cast<double>(*p) > cut_ : argmax(p, n);
    if (truth < 0) continue;
    positive[truth] += weight;
    predicted[guess] += weight;
    if (truth == guess) hits[truth] += weight;
  }
}

// Of columns that are labels of their own.
template <class T> void Metric<T>::add_labels(const OutputBatch<T>& b, std::int64_t part, double weight) {
  const std::int64_t size = b.positions * b.width / b.weights;
  double *const hits = sums_.data(), *const predicted = hits + columns_, *const positive = predicted + columns_;
  for (std::int64_t i = part * size; i < (part + 1) * size; ++i) {
    const std::int64_t k = i % columns_;
    const bool truth = b.target[i] > T(0.5), guess = static_cast<double>(b.score[i]) > cut_;
    positive[k] += truth ? weight : 0;
    predicted[k] += guess ? weight : 0;
    hits[k] += truth && guess ? weight : 0;
  }
}

template <class T> void Metric<T>::add_scores(const OutputBatch<T>& b, std::int64_t part, double weight) {
  const std::int64_t n = config_.classes;
  const Rows rows = rows_of(b, part);
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const std::int64_t truth = config_.labels || n == 1 ? 0 : true_class(b, row, n);
    const double* p = scores_of(b, row);
    weights_.push_back(truth < 0 ? 0 : weight);
    if (columns_ < n) {  // of two classes
      scores_.push_back(config_.scores == Scores::kClassLogits ? p[1] : p[1] - p[0]);
      positive_.push_back(truth == 1);
      continue;
    }
    for (std::int64_t k = 0; k < n; ++k) {
      scores_.push_back(p[k]);
      positive_.push_back(config_.labels || n == 1 ? b.target[row * n + k] > T(0.5) : truth == k);
    }
  }
}

// Welford's update of the weighted mean and spread, which a large mean does not cancel.
template <class T> void Metric<T>::add_r2(const OutputBatch<T>& b, std::int64_t part, double weight) {
  const std::int64_t all = config_.values, size = all / b.weights;
  double* const total = sums_.data();
  double *const mean = total + all, *const spread = mean + all, *const residual = spread + all;
  for (std::int64_t at = part * size; at < (part + 1) * size && weight > 0; ++at) {
    const std::int64_t i = at % all;
    const double y = static_cast<double>(b.target[at]), error = y - static_cast<double>(b.point[at]);
    if (total[i] == 0) mean[i] = y;  // y * weight / weight may not be y, and a constant target would spread
    const double from_mean = y - mean[i];
    total[i] += weight;
    mean[i] += from_mean * weight / total[i];
    spread[i] += weight * from_mean * (y - mean[i]);
    residual[i] += weight * error * error;
  }
}

namespace {

// Area under the ROC curve: the weighted share of (positive, negative) pairs in the right order, ties counting half.
template <class Scored> double area_of(std::vector<Scored> all, double positives, double negatives) {
  const auto is_nan = [](const Scored& s) { return std::isnan(s.score); };
  if (!(positives > 0 && negatives > 0) || std::any_of(all.begin(), all.end(), is_nan)) return std::nan("");
  std::stable_sort(all.begin(), all.end(), [](const Scored& a, const Scored& b) { return a.score < b.score; });
  double area = 0, below = 0;
  for (std::size_t i = 0; i < all.size();) {
    double tied_positive = 0, tied_negative = 0;
    const double score = all[i].score;
    for (; i < all.size() && all[i].score == score; ++i)
      (all[i].positive ? tied_positive : tied_negative) += all[i].weight;
    area += tied_positive * (below + tied_negative / 2);
    below += tied_negative;
  }
  return area / (positives * negatives);
}

}  // namespace

// Of some columns.
template <class T>
std::vector<typename Metric<T>::Scored> Metric<T>::scored(std::int64_t first, std::int64_t last) const {
  std::vector<Scored> all;
  for (std::size_t row = 0; row < weights_.size(); ++row) {
    for (std::int64_t k = first; k < last; ++k) {
      const std::size_t at = row * static_cast<std::size_t>(columns_) + static_cast<std::size_t>(k);
      all.push_back({scores_[at], weights_[row], positive_[at] != 0});
    }
  }
  return all;
}

template <class T> std::vector<double> Metric<T>::state() const {
  if (config_.kind != MetricKind::kAuc) return sums_;
  std::vector<double> result;
  const std::int64_t step = config_.pooled ? columns_ : 1;
  for (std::int64_t k = 0; k < columns_; k += step) {
    std::vector<Scored> all = scored(k, k + step);
    double positives = 0, negatives = 0;
    for (const Scored& s : all) (s.positive ? positives : negatives) += s.weight;
    result.insert(result.end(), {area_of(std::move(all), positives, negatives), positives, negatives});
  }
  return result;
}

template <class T> std::vector<double> Metric<T>::gathered() const {
  if (config_.kind != MetricKind::kAuc) return sums_;
  const auto columns = static_cast<std::size_t>(columns_);
  std::vector<double> values;
  values.reserve(weights_.size() * (2 * columns + 1));
  for (std::size_t row = 0; row < weights_.size(); ++row) {
    const std::size_t at = row * columns;
    for (std::size_t k = 0; k < columns; ++k) values.push_back(scores_[at + k]);
    values.push_back(weights_[row]);
    for (std::size_t k = 0; k < columns; ++k) values.push_back(positive_[at + k] != 0 ? 1.0 : 0.0);
  }
  return values;
}

template <class T> std::int64_t Metric<T>::sums_size() const {
  switch (config_.kind) {
    case MetricKind::kCounts: return 3 * columns_;
    case MetricKind::kR2: return 4 * config_.values;
    default: return 2;
  }
}

template <class T> std::int64_t Metric<T>::gathered_size(std::int64_t samples) const {
  if (config_.kind != MetricKind::kAuc) return sums_size();
  return samples * config_.steps * (config_.values / config_.classes) * (2 * columns_ + 1);
}

template <class T> void Metric<T>::check_gathered(const std::vector<double>& values) const {
  const auto columns = static_cast<std::size_t>(columns_);
  if (config_.kind != MetricKind::kAuc) {
    const std::size_t size = static_cast<std::size_t>(config_.values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool is_mean = config_.kind == MetricKind::kR2 && i / size == 1;
      check(is_mean ? std::isfinite(values[i]) : values[i] >= 0, "the gathered sums of a metric hold what is no sum");
    }
    return;
  }
  for (std::size_t i = columns; i < values.size(); i += 2 * columns + 1) {
    check(values[i] >= 0, "the gathered scores of auc hold a weight that is none");
  }
}

template <class T> void Metric<T>::set_gathered(const std::vector<double>& values) {
  reset();
  if (config_.kind != MetricKind::kAuc) {
    sums_ = values;
    return;
  }
  const auto columns = static_cast<std::size_t>(columns_);
  const std::size_t row = 2 * columns + 1;
  for (std::size_t i = 0; i < values.size(); i += row) {
    for (std::size_t k = 0; k < columns; ++k) {
      scores_.push_back(values[i + k]);
      positive_.push_back(values[i + columns + 1 + k] != 0.0);
    }
    weights_.push_back(values[i + columns]);
  }
}

template class Metric<float>;
template class Metric<double>;

}  // namespace bp
