// The model's outputs in a training step: the targets and weights of a batch, its losses, the first deltas, and what
// metrics look at.
#pragma once

#include "train/workspace.h"

namespace bp {

template <class T> class Outputs {
 public:
  explicit Outputs(Workspace<T>& work);

  std::size_t count() const { return outputs_.size(); }
  void make_room(std::int64_t n);
  void prepare(const BatchSource<T>& source);
  void gather(Rows rows, const BatchJob<T>& job);
  // Value and, in training, delta of some samples; notes what is not finite.
  void loss(std::size_t k, Rows rows, const BatchJob<T>& job, Team& team);
  // Writes the gradient of an objective of some samples.
  void objective(std::size_t k, Rows rows, const BatchJob<T>& job);
  LossArgs<T> arguments(std::size_t k, Rows rows, const BatchJob<T>& job);  // what its kernel takes
  OutputBatch<T> batch(std::size_t k, std::int64_t n) const;                // the last one, of n samples
  const T* row_loss(std::size_t k) const { return outputs_[k].row_loss.data(); }
  const BoundLoss<T>& bound(std::size_t k) const { return work_.config->losses[k]; }

 private:
  struct Arrays {
    Buffer<T> target, row_loss, delta, values;
    Buffer<T> weight;       // as they are given: (n, weights)
    Buffer<T> loss_weight;  // as the loss takes them: of its rows, or of their terms
    Buffer<T> valid;        // (n, steps), if `masked`
    Buffer<std::int32_t> label;
    bool adds_delta = false;  // another loss has written this value's gradient already
    bool labelled = false;
    std::int64_t weights = 0;  // of a sample; none: 0
    int weight_axes = 0;       // of a sample's weights
    bool weigh_terms = false;
    bool masked = false;  // not all steps count
  };
  void check_labels(std::size_t k, Rows rows, const BatchJob<T>& job) const;
  void check_target(std::size_t k, Rows rows, const BatchJob<T>& job) const;
  void check_weight(std::size_t k, Rows rows, const BatchJob<T>& job) const;
  void link_values(std::size_t k, Rows rows);
  void show_targets(Rows rows);

  Workspace<T>& work_;
  std::vector<Arrays> outputs_;
  std::vector<int> shown_;  // the values that are targets
};

}  // namespace bp
