// What a training step is told: once (StepConfig), of the data (BatchSource), and of each batch (BatchJob).
#pragma once

#include <algorithm>
#include <functional>
#include <memory>

#include "plan/gather.h"
#include "train/constraint.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/penalty.h"

namespace bp {

template <class T> struct Target {
  RowReader<T> dense;                   // or
  const std::int32_t* label = nullptr;  // (n, positions), C-contiguous
};

// Which positions of an output count, where not all do.
template <class T> struct Valid {
  RowReader<T> mask;                    // (n, steps), 1 or 0; no rows: all count
  const std::int64_t* count = nullptr;  // (n): how many
};

// Where a batch comes from: samples order[rows] (order null: rows themselves) of the caller's arrays.
template <class T> struct BatchSource {
  std::vector<RowReader<T>> xs;
  std::vector<Target<T>> ys;
  std::vector<RowReader<T>> weights;  // by output; no rows: none
  std::vector<Valid<T>> valid;        // by output
  std::vector<double> largest;        // by input: no |x| is above it, infinite where nobody has looked
  std::int64_t n = 0;
};

// A value whose sum, as a mean over the batch, training minimises beside the losses.
struct ValueLoss {
  int value;
  double weight;
};

// A parameter that is not trained and takes the signs of one that is.
struct SignedBy {
  int param, by;
};

// The states of which ops go from training batch to training batch.
enum class Carries { kNothing, kStateful, kAll };

template <class T> class Preconditioner;
template <class T> struct StepConfig;

// Makes one for a graph and what its trainer was told, which holds this.
template <class T>
using PreconditionerMaker = std::function<std::unique_ptr<Preconditioner<T>>(
    std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config)>;

template <class T> struct StepConfig {
  std::vector<BoundLoss<T>> losses;
  std::vector<ValueLoss> objectives;
  std::vector<SignedBy> signs;
  std::vector<int> handed;         // values whose gradients the caller hands in, in place of losses
  std::vector<char> needs_values;  // by output: some metric wants what predict() returns
  OptimizerConfig optimizer;
  bool has_optimizer = false;
  PreconditionerMaker<T> preconditioner;  // empty: gradients go to the optimizer as they are
  std::vector<std::vector<T*>> slots;     // by parameter
  std::vector<ParameterGroup> groups;     // empty: the optimizer's own numbers for all; else group_of is by parameter
  std::vector<int> group_of;
  std::vector<PenaltyConfig<T>> penalties;       // by parameter, or empty
  std::vector<ConstraintConfig<T>> constraints;  // by parameter, or empty
  double clip_norm = 0, clip_value = 0;
  int accumulate_steps = 1;
  bool fuse = true;
  Carries carries = Carries::kNothing;
  bool in_stretches = false;       // forward and backward are called apart (train/stretch.h)
  bool between_may_throw = false;  // some metric is code of the user's

  int group(int param) const { return groups.empty() ? 0 : group_of[static_cast<std::size_t>(param)]; }
};

// What a batch is to do; equal on every thread of the team.
template <class T> struct BatchJob {
  const BatchSource<T>* source;
  const std::int64_t* order;
  Rows rows;
  bool training;           // false: evaluation, forward and loss only
  bool update;             // false: gradients only, into the materialised arrays
  bool add_gradients;      // to those of earlier batches
  bool commit;             // running statistics move
  bool wrt_inputs = true;  // backward goes on to the inputs, where the plan has their gradients
  double gradient_scale;   // 1 / number of batches accumulated, applied at the update
  double learning_rate;
  std::int64_t step;   // the optimizer's, from 1
  std::uint64_t draw;  // training batches so far: what random layers depend on

  const double* counted = nullptr;  // by output: how many positions of the batch count; null: all of them
  const double* own = nullptr;      // of these the job's own, where it is a part of the batch; null: all of them

  // What the losses of an output are summed over.
  double terms(std::size_t k, std::int64_t positions) const {
    return counted == nullptr ? static_cast<double>(rows.count() * positions) : counted[k];
  }
  // What they are divided by for their mean: where no position counts each of them is 0, and so is that.
  double divisor(std::size_t k, std::int64_t positions) const { return std::max(terms(k, positions), 1.0); }
  double share(std::size_t k) const { return own == nullptr ? 1 : own[k] / std::max(counted[k], 1.0); }
  std::int64_t sample(std::int64_t row) const {  // of the data, for a row of the batch
    return order == nullptr ? rows.begin + row : order[rows.begin + row];
  }
};

// Where the first value that is not finite stands; tensor: input, weight, output, loss, penalty, delta, gradient (of a
// weight), statistics (of the layer, after the batch) or update (of a weight, or of the optimizer's state).
struct NonFinite {
  std::string layer, tensor;
  std::int64_t row = -1;  // of the batch
};

// The rows of the next batch, to be asked for ahead: shuffled rows come from far away. None if a thread's share would
// crowd the level-2 cache, or rows are so short that the gather itself asks for them in time.
template <class T> Rows next_batch(const BatchJob<T>& job, int threads) {
  constexpr std::int64_t kPrefetchedValues = 16 << 10, kLongRow = 48;
  if (job.order == nullptr) return {0, 0};
  const std::int64_t next = std::min(job.rows.count(), job.source->n - job.rows.end);
  std::int64_t values = 0;
  for (const RowReader<T>& reader : job.source->xs) values += reader.row_size();
  if (values < kLongRow || next * values / threads > kPrefetchedValues) return {0, 0};
  return {job.rows.end, job.rows.end + next};
}

}  // namespace bp
