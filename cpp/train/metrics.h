// Metrics of one output, gathered batch by batch in sample order: the sums do not depend on threads or batch size.
//
// A sample's values are rows of `classes` (the last axis of the output). A row is one class of several, the largest
// value that of the predicted class; or, with `labels`, each of its columns is a label of its own that is true or
// false.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"

namespace bp {

// One output's batch, as loss and metrics see it.
template <class T> struct OutputBatch {
  std::int64_t n, positions, width;  // score, prediction: (n, positions, width); width is what a loss sums over
  std::int64_t target_width;         // width, or less for a loss with several values per target
  const T* score;                    // what the loss reads: see Scores
  const T* prediction;               // what predict() returns, if any metric needs_values(); else as score
  const T* point;                    // (n, positions, target_width): what compares with the target value by value
  const T* target;                   // like point, or null
  const std::int32_t* label;         // (n, positions), or null
  const T* weight;                   // (n, weights), or null
  std::int64_t weights;              // of a sample; 1 without any
  int weight_axes;                   // how many leading axes of a sample's target they have
  const T* valid = nullptr;          // (n, steps), 1 where a step counts and 0 elsewhere, or null
  std::int64_t steps = 0;            // a sample's first axis, where the loss is of steps; else 0
};

template <class T> struct UserMetric {
  virtual ~UserMetric() = default;
  virtual void add(const OutputBatch<T>& batch) = 0;
};

enum class MetricKind { kAccuracy, kTopK, kBinaryAccuracy, kCounts, kAuc, kMae, kMse, kR2, kUser };

// What the loss reads: values or probabilities; logits of a sigmoid each; logits of a softmax over a row.
enum class Scores { kValues, kLogits, kClassLogits };

template <class T> struct MetricConfig {
  MetricKind kind = MetricKind::kAccuracy;
  bool weighted = false;   // by the loss's weights of the samples
  bool labels = false;     // counts, auc: columns are labels of their own
  bool pooled = false;     // auc: of all columns as one
  int k = 5;               // top_k
  double threshold = 0.5;  // binary_accuracy, and counts of labels: of a value; of logits, of their probability
  std::shared_ptr<UserMetric<T>> user;
  // What the trainer knows of the output.
  Scores scores = Scores::kValues;
  std::int64_t classes = 1;  // of a row
  std::int64_t steps = 1;    // of a sample; 1 where the loss is not of steps
  std::int64_t values = 0;   // of a step's target
};

template <class T> class Metric {
 public:
  explicit Metric(MetricConfig<T> config);
  // True if the metric needs what predict() returns, not merely something with the same order.
  bool needs_values() const;
  // True if it compares predictions with targets value by value, so that class labels will not do.
  bool needs_dense_target() const;
  bool weighted() const { return config_.weighted; }
  // Whether a weight may tell apart the values of a row.
  bool weighs_values() const;
  void reset();
  void add(const OutputBatch<T>& batch);
  UserMetric<T>* user() const { return config_.user.get(); }
  // accuracy, top_k, binary_accuracy, mae, mse: {sum w v, sum w}; counts: 3 x columns {hits, predicted, true};
  // auc: by column {area, positives, negatives}, the area NaN where one of the others is 0;
  // r2: 4 x values {sum w, mean y, sum w (y - mean)^2, sum w (y - p)^2}.
  std::vector<double> state() const;
  // All that has been gathered, for a checkpoint: the sums; of auc by row the scores, the weight, and which are
  // positive.
  std::vector<double> gathered() const;
  std::int64_t gathered_size(std::int64_t samples) const;  // how many numbers that is after a number of samples
  // BadInput for what gathered() cannot have given; the caller has compared its size.
  void check_gathered(const std::vector<double>& values) const;
  // Goes on from what gathered() gave, once it is checked.
  void set_gathered(const std::vector<double>& values);

 private:
  struct Scored {
    double score, weight;
    bool positive;
  };

  // A part of the batch is what one weight belongs to, a sample where there are none: which rows, or which values of
  // all the batch's are its own, and what each kind makes of them.
  Rows rows_of(const OutputBatch<T>& batch, std::int64_t part) const;
  double share_of_hits(const OutputBatch<T>& batch, std::int64_t part) const;
  double share_on_side(const OutputBatch<T>& batch, std::int64_t part);
  double mean_error(const OutputBatch<T>& batch, std::int64_t part) const;
  void add_counts(const OutputBatch<T>& batch, std::int64_t part, double weight);
  void add_labels(const OutputBatch<T>& batch, std::int64_t part, double weight);
  void add_scores(const OutputBatch<T>& batch, std::int64_t part, double weight);
  void add_r2(const OutputBatch<T>& batch, std::int64_t part, double weight);
  const double* scores_of(const OutputBatch<T>& batch, std::int64_t row);
  std::vector<Scored> scored(std::int64_t first, std::int64_t last) const;
  std::int64_t sums_size() const;

  MetricConfig<T> config_;
  std::int64_t columns_;  // of counts and auc
  double cut_;            // the threshold, as scores have it
  std::vector<double> sums_;
  std::vector<double> scores_, weights_;  // auc: rows of columns_, and a weight for each row
  std::vector<char> positive_;
  std::vector<double> row_;  // of scores
};

}  // namespace bp
