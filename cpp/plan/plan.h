// A graph made executable: the steps in order, which gradients flow, what was fused. Immutable; frames hold the arrays.
#pragma once

#include "base/threads.h"
#include "ops/product.h"
#include "plan/graph.h"

namespace bp {

// Beside an op's flops: to make one of its values takes as long as this number of a product's operations.
constexpr double kOperationsPerValue = 16;
// Of long work, the operations (Watch) of a piece: 2 to 20 ms of one core, counted for single precision.
template <class T> double most_of_a_piece() { return 5e8 * sizeof(float) / sizeof(T) * patience(); }

struct PlanOptions {
  bool training = false;  // keep what backward needs
  bool fuse = true;
  bool wrt_inputs = false;  // gradients of the input values too
};

template <class T> struct Step {
  OpPtr<T> op;
  Partition partition = Partition::kRows;
  std::vector<int> inputs;  // values
  int output;
  std::vector<int> params;
  std::vector<char> wants_dx, adds_dx, for_inputs;  // by input; for_inputs: no parameter's gradient needs this dx
  bool backward = false, backward_for_inputs = false;
  std::string name;

  // Of some samples; where the partition is by columns, of some of these, too: then backward_columns() comes after
  // prepare_backward() of all samples.
  std::int64_t columns(bool forward) const;
  double operations() const;  // of a sample in forward, as Watch counts
  void forward_columns(const Io<T>& io, const Block& block, T* scratch) const;
  void prepare_backward(const Io<T>& io, Rows rows) const;
  void backward_columns(const Io<T>& io, const Block& block, T* scratch) const;
  // The same in pieces, where the op can be cut; after each the member looks whether the work is still wanted.
  void forward_in_pieces(const Io<T>& io, const Block& block, T* scratch, Team& team) const;
  void backward_in_pieces(const Io<T>& io, const Block& block, T* scratch, Team& team) const;
  Block all(Rows rows, bool forward) const { return {rows, {0, columns(forward)}}; }
  void forward_rows(const Io<T>& io, Rows rows, T* scratch) const { op->forward(io, all_columns(rows), scratch); }
  void backward_rows(const Io<T>& io, Rows rows, T* scratch) const { op->backward(io, all_columns(rows), scratch); }

 private:
  Block all_columns(Rows rows) const { return {rows, {0, op->sizes().features}}; }
  template <class Make> void each_piece(bool forward, bool training, const Block& block, Make make) const;
};

struct ParameterUse {
  int step, slot;
};

template <class T> class Plan {
 public:
  // targets: values to compute; losses: those among them where gradients start.
  Plan(std::shared_ptr<const Graph<T>> graph, std::vector<int> targets, std::vector<int> losses, PlanOptions options);

  const Graph<T>& graph() const { return *graph_; }
  const PlanOptions& options() const { return options_; }
  const std::vector<Step<T>>& steps() const { return steps_; }
  const std::vector<ParameterUse>& uses(int param) const { return uses_[static_cast<std::size_t>(param)]; }
  int root(int value) const { return root_[static_cast<std::size_t>(value)]; }  // whose memory it is
  bool has_gradient(int value) const { return gradient_[static_cast<std::size_t>(root(value))]; }
  bool computed(int value) const { return computed_[static_cast<std::size_t>(root(value))]; }
  std::int64_t block_rows() const { return block_rows_; }  // that a thread takes through all steps at once
  bool whole_batch() const { return whole_batch_; }        // some step must see all rows at once
  // Position of the last step that reads a value in forward; targets: past the end.
  int last_use(int value) const { return last_use_[static_cast<std::size_t>(value)]; }
  std::int64_t flops() const { return flops_; }
  double operations() const { return operations_; }  // of a sample in forward, as Watch counts
  bool is_long(double samples) const;                // forward of this number: then calls are cut into pieces
  bool mostly_by_columns() const { return 2 * column_flops_ > flops_; }
  // Enough for any forward or backward call: of up to `rows` samples at once, or of a batch where all are needed.
  std::int64_t scratch_size(std::int64_t rows, std::int64_t batch) const;
  std::string describe() const;

 private:
  void resolve_aliases();
  void add_steps(const std::vector<int>& targets);
  int step_before(int node, const std::vector<int>& maker) const;
  bool fuse(Step<T>& before, int node, const Op<T>& op);  // takes it over, if it can
  std::string waits_for(int step) const;  // the steps whose backward comes before its gradients, in words
  void find_gradients(const std::vector<int>& losses);
  void count_operations();

  std::shared_ptr<const Graph<T>> graph_;
  PlanOptions options_;
  std::vector<Step<T>> steps_;
  std::vector<std::vector<ParameterUse>> uses_;
  std::vector<int> root_, consumers_, last_use_;
  std::vector<char> gradient_, computed_, is_target_;
  std::vector<char> starts_;  // a loss writes its gradient
  std::vector<std::string> fusions_;
  std::int64_t flops_ = 0, column_flops_ = 0, block_rows_ = 0;
  double operations_ = 0;
  bool whole_batch_ = false;
};

}  // namespace bp
