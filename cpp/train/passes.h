// A step in parts, for loops of the caller's own: a forward pass that keeps what backward needs, and a backward pass
// from gradients at the outputs that the caller hands in. The update alone is Trainer::apply.
//
// One pass is kept, and backward uses it up: it overwrites what forward left. A pass belongs to the weights that it was
// made with and to the thread that made it.
#pragma once

#include <optional>
#include <thread>

#include "train/states.h"

namespace bp {

template <class T> class Passes {
 public:
  enum class State { kNone, kKept, kUsed, kChanged, kForeign };

  Passes(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<Counter> draws);

  // All rows of the source as one batch. In training it is the next draw, running statistics move, and states are
  // carried on: now, or, if it is not yet settled that the batch counts, by settle(). Says where the first value stands
  // that is not finite: then nothing is kept, and nothing has moved.
  std::optional<NonFinite> forward(const BatchSource<T>& source, bool training, bool settled);
  void settle();
  const T* output(std::size_t k) { return step_.value(graph_->outputs[k]); }
  std::int64_t rows() const { return n_; }

  // What stateful ops carry from training pass to training pass (train/states.h); others begin with zeros.
  std::vector<bp::State<T>> states() { return states_.get(step_); }
  void set_states(std::vector<bp::State<T>> states);
  void reset_states(bool stateful_too) { states_.reset({&step_}, stateful_too); }

  State state() const;  // whether backward may come: kKept

  // dL/dy by output, as many rows as forward had; the output and row of the first that is not finite, if there is one.
  std::optional<std::pair<std::size_t, std::int64_t>> take_deltas(const std::vector<RowReader<T>>& dys);
  // Adds the gradients of trainable parameters to arrays by parameter (an empty list: leaves them out), and finds those
  // of the inputs or leaves them out. Says what was not finite: then nothing was added.
  std::optional<NonFinite> backward(const std::vector<T*>& to, bool inputs);
  const T* input_gradient(std::size_t k) { return step_.gradient(graph_->inputs[k]); }  // null: zeros

 private:
  std::shared_ptr<const Graph<T>> graph_;
  std::shared_ptr<Counter> draws_;
  TrainingStep<T> step_;
  States<T> states_{Carries::kStateful};
  BatchJob<T> job_{};
  std::vector<T> added_;
  Crews crews_[2];  // of forward, of backward
  State state_ = State::kNone;
  bool unsettled_ = false;  // a training pass that does not count yet
  std::int64_t n_ = 0, changes_ = 0;
  std::thread::id thread_;
};

extern template class Passes<float>;
extern template class Passes<double>;

}  // namespace bp
