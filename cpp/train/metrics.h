// Metrics of one output, gathered batch by batch in sample order: the sums do not depend on threads or batch size.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"

namespace bp {

// One output's batch, as loss and metrics see it.
template <class T> struct OutputBatch {
  std::int64_t n, positions, width;  // prediction: (n, positions, width); width is the class axis of a cross entropy
  std::int64_t target_width;  // width, or less for a loss with several values per target
  const T* prediction;
  const T* point;             // (n, positions, target_width): what compares with the target value by value
  const T* target;            // like point, or null
  const std::int32_t* label;  // (n, positions), or null
  const T* weight;            // (n), or null
};

template <class T> struct MetricCallback {
  virtual ~MetricCallback() = default;
  virtual void add(const OutputBatch<T>& batch) = 0;
};

enum class MetricKind { kAccuracy, kTopK, kBinaryAccuracy, kConfusion, kAuc, kMae, kMse, kR2, kCallback };

template <class T> struct MetricConfig {
  MetricKind kind = MetricKind::kAccuracy;
  int k = 5;                                                // top_k
  int classes = 0;                                          // confusion
  std::int64_t positions = 1, width = 1, target_width = 1;  // of the output, as in OutputBatch
  double threshold = 0.5;  // on what `prediction` holds (the trainer turns a probability into a logit)
  std::shared_ptr<MetricCallback<T>> callback;
};

template <class T> class Metric {
 public:
  explicit Metric(MetricConfig<T> config) : config_(std::move(config)) { reset(); }
  // True if the metric needs what predict() returns, not merely something with the same order.
  bool needs_values() const;
  // True if it compares predictions with targets value by value, so that class labels will not do.
  bool needs_dense_target() const;
  bool is_area() const { return config_.kind == MetricKind::kAuc; }
  void reset();
  void add(const OutputBatch<T>& batch);
  // accuracy, top_k, binary_accuracy, mae, mse: {sum w v, sum w}; confusion: K x K; auc: {value};
  // r2: 4 x outputs {sum w, mean y, sum w (y - mean)^2, sum w (y - p)^2}.
  std::vector<double> state() const;
  // All that has been gathered, for a checkpoint: the sums; of auc (score, weight, positive) by prediction.
  std::vector<double> gathered() const;
  // How many numbers that is after so many samples; `labels`: their targets are class labels.
  std::int64_t gathered_size(std::int64_t samples, bool labels) const;
  // Goes on from what gathered() gave; the caller has compared its size.
  void set_gathered(const std::vector<double>& values);

 private:
  double row_value(const OutputBatch<T>& batch, std::int64_t row) const;
  void add_confusion(const OutputBatch<T>& batch, std::int64_t row, double weight);
  void add_r2(const OutputBatch<T>& batch, std::int64_t row, double weight);
  double area() const;
  std::int64_t sums_size() const;

  MetricConfig<T> config_;
  std::vector<double> sums_;
  struct Scored {
    double score, weight;
    bool positive;
  };
  std::vector<Scored> scored_;
};

}  // namespace bp
