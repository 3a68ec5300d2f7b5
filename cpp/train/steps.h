// A batch of sequences, seen step by step: each step of a sample is a row, and those that do not count are left out
// where they must not be seen.
#pragma once

#include <algorithm>
#include <vector>

#include "train/metrics.h"

namespace bp {

// (n, steps, ..) as (n steps, ..); the weights of samples, which their steps share, in `shared`.
template <class T> OutputBatch<T> by_steps(const OutputBatch<T>& all, std::vector<T>* shared) {
  OutputBatch<T> batch = all;
  if (all.steps == 0) return batch;
  batch.n = all.n * all.steps;
  batch.positions = std::max<std::int64_t>(all.positions / all.steps, 1);
  batch.steps = 0;
  if (all.weight == nullptr) return batch;
  if (all.weight_axes == 0) {
    shared->clear();
    for (std::int64_t i = 0; i < batch.n; ++i) shared->push_back(all.weight[i / all.steps]);
    batch.weight = shared->data();
    batch.weights = 1, batch.weight_axes = 0;
  } else {
    batch.weights = all.weights / all.steps;
    batch.weight_axes = all.weight_axes - 1;
  }
  return batch;
}

// The rows of a batch that count, copied together.
template <class T> class ValidRows {
 public:
  explicit ValidRows(const OutputBatch<T>& all) : batch_(by_steps(all, &shared_)) {
    if (all.valid == nullptr || all.steps == 0) return;
    for (std::int64_t i = 0; i < batch_.n; ++i) {
      if (all.valid[i] != T(0)) rows_.push_back(i);
    }
    const std::int64_t width = batch_.positions * batch_.width, targets = batch_.positions * batch_.target_width;
    take(batch_.score, width, &score_), take(batch_.prediction, width, &prediction_),
        take(batch_.point, targets, &point_);
    take(batch_.target, targets, &target_), take(batch_.label, batch_.positions, &label_);
    take(batch_.weight, batch_.weights, &weight_);
    batch_.n = static_cast<std::int64_t>(rows_.size());
    batch_.valid = nullptr;
    some_ = true;
  }
  ValidRows(const ValidRows&) = delete;
  ValidRows& operator=(const ValidRows&) = delete;

  const OutputBatch<T>& batch() const { return batch_; }
  // Numbers of rows back to their places among all `n`, zeros elsewhere.
  void put(const T* from, std::int64_t width, std::int64_t n, T* to) const {
    if (!some_) {
      std::copy_n(from, n * width, to);
      return;
    }
    std::fill_n(to, n * width, T(0));
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      std::copy_n(from + static_cast<std::int64_t>(i) * width, width, to + rows_[i] * width);
    }
  }

 private:
  template <class V> void take(const V*& from, std::int64_t width, std::vector<V>* to) {
    if (from == nullptr) return;
    for (std::int64_t row : rows_) to->insert(to->end(), from + row * width, from + (row + 1) * width);
    from = to->data();
  }

  std::vector<T> shared_, score_, prediction_, point_, target_, weight_;
  std::vector<std::int32_t> label_;
  std::vector<std::int64_t> rows_;
  bool some_ = false;
  OutputBatch<T> batch_;
};

}  // namespace bp
