#include "train/metrics.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace bp {
namespace {

template <class T> std::int64_t argmax(const T* x, std::int64_t n) { return std::max_element(x, x + n) - x; }

template <class T> std::int64_t true_class(const OutputBatch<T>& b, std::int64_t row, std::int64_t position) {
  const std::int64_t at = row * b.positions + position;
  return b.label != nullptr ? b.label[at] : argmax(b.target + at * b.width, b.width);
}

}  // namespace

template <class T> bool Metric<T>::needs_values() const {
  switch (config_.kind) {
    case MetricKind::kMae:
    case MetricKind::kMse:
    case MetricKind::kR2:
    case MetricKind::kCallback: return true;
    default: return false;
  }
}

template <class T> bool Metric<T>::needs_dense_target() const {
  const MetricKind kind = config_.kind;
  return kind == MetricKind::kBinaryAccuracy || kind == MetricKind::kMae || kind == MetricKind::kMse || kind == MetricKind::kR2;
}

template <class T> void Metric<T>::reset() {
  scored_.clear();
  sums_.assign(static_cast<std::size_t>(sums_size()), 0.0);
}

template <class T> void Metric<T>::add(const OutputBatch<T>& batch) {
  if (config_.kind == MetricKind::kCallback) return config_.callback->add(batch);
  for (std::int64_t row = 0; row < batch.n; ++row) {
    const double weight = batch.weight != nullptr ? static_cast<double>(batch.weight[row]) : 1.0;
    switch (config_.kind) {
      case MetricKind::kConfusion: add_confusion(batch, row, weight); break;
      case MetricKind::kR2: add_r2(batch, row, weight); break;
      case MetricKind::kAuc:
        for (std::int64_t i = row * batch.positions; batch.label != nullptr && i < (row + 1) * batch.positions; ++i) {
          const T* p = batch.prediction + 2 * i;  // of two classes; the difference orders logits and probabilities alike
          scored_.push_back({static_cast<double>(p[1]) - static_cast<double>(p[0]), weight, batch.label[i] == 1});
        }
        if (batch.label != nullptr) break;
        for (std::int64_t i = row * batch.positions * batch.width; i < (row + 1) * batch.positions * batch.width; ++i) {
          scored_.push_back({static_cast<double>(batch.prediction[i]), weight, batch.target[i] > T(0.5)});
        }
        break;
      default:
        sums_[0] += weight * row_value(batch, row);
        sums_[1] += weight;
    }
  }
}

// The mean over the row's positions (classification) or values (regression).
template <class T> double Metric<T>::row_value(const OutputBatch<T>& b, std::int64_t row) const {
  double sum = 0;
  if (config_.kind == MetricKind::kAccuracy || config_.kind == MetricKind::kTopK) {
    const T* p = b.prediction + row * b.positions * b.width;
    for (std::int64_t position = 0; position < b.positions; ++position, p += b.width) {
      const std::int64_t truth = true_class(b, row, position);
      if (config_.kind == MetricKind::kAccuracy) {
        sum += argmax(p, b.width) == truth;
      } else {  // ties count for the lower class
        std::int64_t before = 0;
        for (std::int64_t i = 0; i < b.width; ++i) before += p[i] > p[truth] || (p[i] == p[truth] && i < truth);
        sum += before < config_.k;
      }
    }
    return sum / static_cast<double>(b.positions);
  }
  const std::int64_t size = b.positions * b.target_width;
  const T *p = b.point + row * size, *t = b.target + row * size;
  for (std::int64_t i = 0; i < size; ++i) {
    const double error = static_cast<double>(p[i]) - static_cast<double>(t[i]);
    switch (config_.kind) {
      case MetricKind::kBinaryAccuracy: sum += (static_cast<double>(p[i]) > config_.threshold) == (t[i] > T(0.5)); break;
      case MetricKind::kMae: sum += std::abs(error); break;
      default: sum += error * error;
    }
  }
  return sum / static_cast<double>(size);
}

template <class T> void Metric<T>::add_confusion(const OutputBatch<T>& b, std::int64_t row, double weight) {
  for (std::int64_t position = 0; position < b.positions; ++position) {
    const std::int64_t at = row * b.positions + position;
    const T* p = b.prediction + at * b.width;
    std::int64_t truth, predicted;
    if (b.width == 1) {
      truth = b.label != nullptr ? b.label[at] : b.target[at] > T(0.5);
      predicted = static_cast<double>(*p) > config_.threshold;
    } else {
      truth = true_class(b, row, position);
      predicted = argmax(p, b.width);
    }
    if (truth < config_.classes && predicted < config_.classes) {
      sums_[static_cast<std::size_t>(truth * config_.classes + predicted)] += weight;
    }
  }
}

// Welford's update of the weighted mean and spread, which a large mean does not cancel.
template <class T> void Metric<T>::add_r2(const OutputBatch<T>& b, std::int64_t row, double weight) {
  const std::int64_t size = b.positions * b.target_width;
  double* const total = sums_.data();
  double *const mean = total + size, *const spread = mean + size, *const residual = spread + size;
  for (std::int64_t i = 0; i < size && weight > 0; ++i) {
    const double y = static_cast<double>(b.target[row * size + i]);
    const double error = y - static_cast<double>(b.point[row * size + i]);
    const double from_mean = y - mean[i];
    total[i] += weight;
    mean[i] += from_mean * weight / total[i];
    spread[i] += weight * from_mean * (y - mean[i]);
    residual[i] += weight * error * error;
  }
}

// Area under the ROC curve: the weighted share of (positive, negative) pairs in the right order, ties counting half.
template <class T> double Metric<T>::area() const {
  std::vector<Scored> sorted = scored_;
  for (const Scored& s : sorted) {
    if (std::isnan(s.score)) return s.score;  // it has no place in an order
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Scored& a, const Scored& b) { return a.score < b.score; });
  double area = 0, negatives = 0, positives = 0;
  for (std::size_t i = 0; i < sorted.size();) {
    double tied_positive = 0, tied_negative = 0;
    const double score = sorted[i].score;
    for (; i < sorted.size() && sorted[i].score == score; ++i) {
      (sorted[i].positive ? tied_positive : tied_negative) += sorted[i].weight;
    }
    area += tied_positive * (negatives + tied_negative / 2);
    negatives += tied_negative;
    positives += tied_positive;
  }
  return positives > 0 && negatives > 0 ? area / (positives * negatives) : std::nan("");
}

template <class T> std::vector<double> Metric<T>::state() const {
  return config_.kind == MetricKind::kAuc ? std::vector<double>{area()} : sums_;
}

template <class T> std::vector<double> Metric<T>::gathered() const {
  if (config_.kind != MetricKind::kAuc) return sums_;
  std::vector<double> values;
  values.reserve(3 * scored_.size());
  for (const Scored& s : scored_) values.insert(values.end(), {s.score, s.weight, s.positive ? 1.0 : 0.0});
  return values;
}

template <class T> std::int64_t Metric<T>::sums_size() const {
  switch (config_.kind) {
    case MetricKind::kConfusion:
      return std::int64_t{config_.classes} * config_.classes;
    case MetricKind::kR2:
      return 4 * config_.positions * config_.target_width;
    default:
      return 2;
  }
}

template <class T> std::int64_t Metric<T>::gathered_size(std::int64_t samples, bool labels) const {
  if (config_.kind != MetricKind::kAuc) return sums_size();
  return 3 * samples * config_.positions * (labels ? 1 : config_.width);
}

template <class T> void Metric<T>::set_gathered(const std::vector<double>& values) {
  reset();
  if (config_.kind != MetricKind::kAuc) {
    sums_ = values;
    return;
  }
  for (std::size_t i = 0; i + 2 < values.size(); i += 3) {
    scored_.push_back({values[i], values[i + 1], values[i + 2] != 0.0});
  }
}

template class Metric<float>;
template class Metric<double>;

}  // namespace bp
