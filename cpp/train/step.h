// One training step, in its five phases and with its two barriers. See docs/architecture.md.
//
//   forward, loss, backward   by blocks of samples: a thread takes its samples through all steps
//   ---- barrier: every delta is known, no weight has changed
//   accumulate, update        by tiles of parameters: a tile's gradient meets the optimizer while it is in cache
//   ---- barrier
// A wide first layer is passed from thread to thread in forward (relay.cpp): each has the rows of the weights that it also
// updates, and the columns of the data that go with them. A step that needs the whole batch (a layer in Python) splits the
// first part by further barriers. A global gradient norm, accumulation over batches, or a caller who wants the gradients,
// materialise them and put a barrier before update. Penalties join a tile's gradient as it is accumulated; constraints
// follow the update, after one more barrier.
#pragma once

#include <array>
#include <atomic>
#include <chrono>

#include "base/threads.h"
#include "plan/frame.h"
#include "plan/gather.h"
#include "train/constraint.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/penalty.h"

namespace bp {

constexpr std::int64_t kSlabColumns = 512;  // a wider matrix of parameters is cut into slabs of columns

template <class T> struct Target {
  RowReader<T> dense;                   // or
  const std::int32_t* label = nullptr;  // (n, positions), C-contiguous
};

// Where a batch comes from: samples order[rows] (order null: rows themselves) of the caller's arrays.
template <class T> struct BatchSource {
  std::vector<RowReader<T>> xs;
  std::vector<Target<T>> ys;
  std::vector<RowReader<T>> weights;  // by output; no rows: none
  std::int64_t n = 0;
};

template <class T> struct StepConfig {
  std::vector<BoundLoss<T>> losses;
  std::vector<char> needs_values;  // by output: some metric wants what predict() returns
  OptimizerConfig optimizer;
  bool has_optimizer = false;
  std::vector<std::vector<T*>> slots;  // by parameter
  std::vector<ParameterGroup> groups;  // empty: the optimizer's own numbers for all; else group_of is by parameter
  std::vector<int> group_of;
  std::vector<PenaltyConfig<T>> penalties;    // by parameter, or empty
  std::vector<ConstraintConfig> constraints;  // by parameter, or empty
  double clip_norm = 0, clip_value = 0;
  int accumulate_steps = 1;
  bool fuse = true;
  bool between_may_throw = false;  // some metric is code of the user's
};

// What a batch is to do; equal on every thread of the team.
template <class T> struct BatchJob {
  const BatchSource<T>* source;
  const std::int64_t* order;
  Rows rows;
  bool training;                   // false: evaluation, forward and loss only
  bool update;                     // false: gradients only, into the materialised arrays
  bool add_gradients;              // to those of earlier batches
  bool commit;                     // running statistics move
  double gradient_scale;           // 1 / number of batches accumulated, applied at the update
  double learning_rate;
  std::int64_t step;               // the optimizer's, from 1
  std::uint64_t draw;              // training batches so far: what random layers depend on
};

// Where the first value that is not finite stands; tensor: input, weight, output, loss, delta or gradient.
struct NonFinite {
  std::string layer, tensor;
  std::int64_t row = -1;  // of the batch
};

// Seconds and sizes of one step of the plan, for one batch on one thread.
struct StepProfile {
  std::string layer;
  double forward = 0, backward = 0, update = 0;  // seconds; update: accumulate, and the optimizer
  std::int64_t forward_flops = 0, backward_flops = 0, update_flops = 0;
  std::int64_t forward_bytes = 0, backward_bytes = 0, update_bytes = 0;  // every array touched once
};
struct BatchProfile {
  std::vector<StepProfile> steps;
  double gather = 0, loss = 0;
};

template <class T> class TrainingStep {
 public:
  TrainingStep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config, bool wrt_inputs);

  // Before each team: batches of up to n samples of the source, on so many threads. Allocates; run() never does.
  void prepare(const BatchSource<T>& source, std::int64_t n, int threads, bool training, std::uint64_t draw);
  int threads(std::int64_t n, bool training) const;  // worth waking for n samples
  std::int64_t bytes() const { return frame_->bytes() + static_cast<std::int64_t>(sizeof(T)) * gradients_.size(); }

  // The step. `between` runs on rank 0 after the first barrier, beside accumulate and update: sums, metrics, the clock.
  // Returns whether every loss and delta was finite; if not, nothing was updated.
  template <class Between> bool run(Team& team, const BatchJob<T>& job, Between&& between);

  // The update alone, from the gradients of earlier batches; job.rows is empty.
  void finish(Team& team, const BatchJob<T>& job);

  OutputBatch<T> output(std::size_t k, std::int64_t n);  // of the last batch
  const T* row_loss(std::size_t k) const { return outputs_[k].row_loss.data(); }
  Penalties<T>& penalties() { return penalties_; }
  T* value(int v) { return frame_->value(v); }
  T* gradient(int v) { return frame_->gradient(v); }
  void copy_gradient(int param, T* to) const;  // materialised, of a trainable parameter
  const Plan<T>& plan() const { return *plan_; }
  void settle();  // after a team, for whoever looks at values: a relay's data lie as rows again
  void materialise();  // allocates the gradient arrays, if they are not there
  NonFinite first_flaw(std::int64_t n);  // of the last batch, in the order of computation
  // The step with a clock around every call, on one thread, gradients tile by tile; allocates its result.
  BatchProfile profile(const BatchJob<T>& job);
  std::string describe(std::int64_t n) const;

 private:
  enum class Phase { kGather, kForward, kLoss, kPrepare, kBackward };
  struct Call {
    Phase phase;
    int index;  // of the step, or of the output
    Partition partition;
  };
  struct OwnedTile : Tile {
    int param;
    std::int64_t offset;    // of its gradient where gradients are materialised: compact, tile after tile
    std::int64_t work;      // passes over its elements that its owner makes
    std::int64_t in_place;  // batches up to this have no array for its gradient
  };
  struct Leg {             // of one thread in a relay
    Rows depth{0, 0};      // of the weights that it updates
    double rows_from = 0;  // as a part of the batch: its rows after the relay
  };
  static constexpr int kRelayThreads = 8;
  struct Relay {  // the first step, if it can be passed on
    int input = -1, param = -1;                    // of the sources, of the graph's parameters
    Leg legs[kRelayThreads + 1][kRelayThreads + 1];  // by size of the team and rank, and an end
    int threads = 0;                               // of the team; 0: it does not relay
    Io<T> io[kRelayThreads];                       // of the step, by rank: with the thread's own block of the data
  };
  struct alignas(128) Passed {  // written by one thread while others look: lines apart, and not fetched in pairs
    std::atomic<int> blocks{0};
  };
  struct OutputArrays {
    Buffer<T> target, weight, row_weight, row_loss, delta, values;
    Buffer<std::int32_t> label;
    bool adds_delta = false;  // another loss has written this value's gradient already
    bool labelled = false, weighted = false;
  };

  void make_room(std::int64_t n, std::int64_t spare);
  void build_calls();
  void build_tiles();
  void find_relay();
  void plan_relay();
  bool relay_pays(int threads, std::int64_t n) const;
  void lay_relay();
  void leave_relay(Team& team);
  std::int64_t relay_stride(int rank) const;
  std::int64_t relay_spare() const;
  T* relay_block(int rank);
  const Io<T>& io_of(int step, int rank) {
    return step == 0 && relay_.threads > 0 ? relay_.io[rank] : frame_->io(static_cast<std::size_t>(step));
  }
  T largest_input(std::size_t step, std::size_t input, Rows rows);
  std::int64_t relay_scratch() const;
  Rows forward_relay(Team& team, const BatchJob<T>& job, T* scratch);
  void prefetch_relay(const Team& team, const BatchJob<T>& job) const;
  std::int64_t accumulate_scratch(const OwnedTile& tile, const ParameterUse& use, std::int64_t n) const;
  void phase_one(Team& team, const BatchJob<T>& job);
  void call(const Call& call, Rows rows, const BatchJob<T>& job, T* scratch);
  void call_columns(const Call& call, std::int64_t n, const Team& team, T* scratch);
  void check_delta(std::size_t step, Rows rows, std::int64_t batch);
  bool sound_delta(std::size_t step, Rows rows, std::int64_t batch);
  void gather(Rows rows, const BatchJob<T>& job, int but = -1);
  void loss(std::size_t k, Rows rows, const BatchJob<T>& job);
  void link_values(std::size_t k, Rows rows);
  Rows my_tiles(int rank, int size) const;
  void accumulate(const OwnedTile& tile, int rank, std::int64_t n, bool add, T* g, T* scratch);
  void clip(T* g, std::int64_t n, double scale);
  void apply(const OwnedTile& tile, const T* g);
  std::int64_t most_in_place(int param) const;
  std::int64_t descend_scratch(std::int64_t n) const;
  std::int64_t end_of_run(std::int64_t tile, std::int64_t end, std::int64_t n) const;
  void descend(Rows run, int rank, std::int64_t n, T* scratch);
  Rows next_rows(const Team& team, const BatchJob<T>& job) const;
  void own_weights(const OwnedTile& tile) const;
  void update_fused(Team& team, const BatchJob<T>& job);
  void update_materialised(Team& team, const BatchJob<T>& job);
  double norm_scale() const;
  void measure_sizes(std::int64_t n, BatchProfile* found) const;
  void profile_update(const BatchJob<T>& job, BatchProfile* found);

  std::shared_ptr<const Graph<T>> graph_;
  std::shared_ptr<const StepConfig<T>> config_;
  std::shared_ptr<const Plan<T>> plan_;
  std::unique_ptr<Frame<T>> frame_;
  std::vector<OutputArrays> outputs_;
  std::vector<Call> calls_;
  std::vector<OwnedTile> tiles_;
  std::vector<std::int64_t> tile_middle_;  // in the order of all work, to share the tiles out
  std::int64_t elements_ = 0, work_ = 0;   // trained; of all tiles
  std::int64_t gradient_size_ = 0;
  Buffer<T> gradients_;
  std::vector<double> tile_norm_;
  // By thread, each an allocation of its own, so that a sanitizer sees who writes past its end.
  std::vector<Buffer<T>> scratch_, tile_gradient_;
  std::int64_t scratch_size_ = 0, capacity_ = 0, spare_ = 0;  // of the frame's samples and inputs
  StepHyper<T> hyper_;
  Penalties<T> penalties_;
  Constraints<T> constraints_;
  std::atomic<bool> flawed_{false};
  Relay relay_;
  std::array<Passed, kRelayThreads> passed_;  // by thread: blocks of rows that went through its part of the relay
};

template <class T>
template <class Between>
bool TrainingStep<T>::run(Team& team, const BatchJob<T>& job, Between&& between) {
  // Beside the other threads' samples: no weight changes before the barrier.
  if (team.rank == 0 && job.training && !penalties_.call()) flawed_.store(true, std::memory_order_relaxed);
  if (relay_.threads > 0 && relay_.threads != team.size) leave_relay(team);
  phase_one(team, job);
  // Not before: until a relay is through, others may still be in the last update.
  if (team.rank == 0 && job.training && job.update && config_->has_optimizer) hyper_.set(job.learning_rate, job.step);
  team.barrier();
  if (relay_.param >= 0 && team.rank < kRelayThreads) {
    passed_[static_cast<std::size_t>(team.rank)].blocks.store(0, std::memory_order_relaxed);
  }
  const bool sound = !flawed_.load(std::memory_order_relaxed);
  if (team.rank == 0) {
    between(sound);
    frame_->set_draw(job.draw + 1);  // no op reads it before the next batch
  }
  if (config_->between_may_throw && job.training) team.barrier();  // a metric in Python raises before any weight changes
  if (job.training && sound) {
    if (team.rank == 0 && job.commit) frame_->commit(job.rows.count());
    if (gradients_.size() > 0) {
      update_materialised(team, job);
    } else {
      update_fused(team, job);
    }
    if (job.update && config_->has_optimizer) constraints_.apply(team);
  }
  if (!sound) {  // cleared when all have read it, and before any member starts the next step
    team.barrier();
    if (team.rank == 0) flawed_.store(false, std::memory_order_relaxed);
  }
  team.barrier();
  return sound;
}

}  // namespace bp
