// The epoch loop: batches in order or shuffled, steps, sums and metrics. Returns to the caller after a slice of time.
#pragma once

#include <algorithm>

#include <atomic>

#include "train/states.h"
#include "train/stretch.h"

namespace bp {

struct DivergedReport {
  std::int64_t batch = 0;
  std::int64_t sample = -1;  // the row of the data set that flaw.row of the batch came from
  NonFinite flaw;
};

template <class T> struct Results {
  std::vector<double>
      loss;  // by output: sum of weight * loss, over samples (of each its mean over positions) or over steps
  std::vector<double> terms;  // by output: how many samples, or steps where the loss is of steps
  double penalty = 0;         // sum over samples of their batch's penalty
  std::int64_t samples = 0;
  double last_loss = 0;  // of the last batch, all outputs and penalties
};

template <class T> class Trainer {
 public:
  Trainer(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<StepConfig<T>> config,
          std::vector<std::vector<MetricConfig<T>>> metrics,
          std::shared_ptr<Counter> steps = std::make_shared<Counter>(),
          std::shared_ptr<Counter> draws = std::make_shared<Counter>());

  void set_data(BatchSource<T> source);  // and an epoch of its own is to be started
  void drop_data();                      // without a look at them; samples() stay, for who asks for the last values
  void start_epoch(std::int64_t batch_size, bool shuffle, std::uint64_t seed, std::uint64_t epoch,
                   std::int64_t first_batch, bool update);
  // A data set that is one batch of an epoch whose other batches come later: gradients go on accumulating.
  void start_part(bool first);
  // Updates with the gradients that still wait when an epoch ends, or is ended, between two updates.
  void flush(double rate);
  // Trains until the epoch ends, the rates are used up, max_batches are done (< 0: no limit) or the time is over. One
  // rate serves for all steps. Returns the batches done; after a flaw, diverged() says where.
  std::int64_t run(const double* rates, std::int64_t n_rates, std::int64_t max_batches, double seconds);
  // One pass of overlapping windows, in stretches, the data being the steps of one of them (train/stretch.cpp).
  void forward(Stretch<T>& stretch, const Stretch<T>* before, const std::vector<std::int64_t>& steps, bool counts);
  void backward(Stretch<T>& stretch, const Stretch<T>* behind, const Backward& how);
  void undo(const Stretch<T>& stretch);                    // what the last forward of it has moved
  void make_room(Stretch<T>& stretch, std::int64_t rows);  // for what was kept elsewhere
  void end_pass(double rate);
  void take_waiting(const Trainer& other) { step_.take_waiting(other.step_); }
  // Gradients of the loss on all of the data as one batch; nothing is updated. Returns the loss.
  double gradients(bool wrt_inputs, bool training);
  // The update alone, by the caller's gradients: an array for each trainable parameter, null for the others. False, and
  // nothing is changed, if a penalty is not finite. Of an update that would not be, diverged() tells.
  bool apply(const std::vector<const T*>& gradients, double rate);
  // An evaluation of all of the data as one batch, by who has its outputs and losses for the weights as they are.
  void take_evaluation(const Outputs<T>& outputs);
  std::string flaw_of_penalties() { return step_.penalties().flaw(); }
  // One step on all of the data as one batch, timed; at rate 0, but an optimizer's state moves.
  BatchProfile profile();
  void reset_results();
  // How many numbers each metric has gathered in the epoch's batches so far; of so many samples, where they came in
  // parts.
  std::vector<std::vector<std::int64_t>> gathered_sizes(std::int64_t samples = -1) const;
  // BadInput for what no trainer of the same configuration and data can have gathered in these batches.
  void check_results(const Results<T>& results, const std::vector<std::vector<std::vector<double>>>& metrics,
                     std::int64_t samples = -1) const;
  // Goes on from what another trainer of the same model, for samples of another length, has gathered.
  void take_results(const Trainer& other);
  // Goes on from what such a trainer has gathered; what is refused changes nothing.
  void set_results(Results<T> results, const std::vector<std::vector<std::vector<double>>>& metrics,
                   std::int64_t samples = -1);

  // What ops carry from training batch to training batch (train/states.h).
  std::vector<State<T>> states() { return states_.get(*last_); }
  void set_states(std::vector<State<T>> states);
  void reset_states(bool stateful_too = true);

  TrainingStep<T>& last_step() { return *last_; }
  const Results<T>& results() const { return results_; }
  const std::vector<std::vector<Metric<T>>>& metrics() const { return metrics_; }
  const std::vector<BoundLoss<T>>& losses() const { return config_->losses; }
  const DivergedReport* diverged() const { return has_diverged_ ? &diverged_ : nullptr; }
  // Of an evaluation, which goes on all the same: where the results stopped being finite.
  const DivergedReport* flaw() const { return has_flaw_ ? &flaw_ : nullptr; }
  std::int64_t samples() const { return samples_; }
  std::int64_t batch() const { return batch_; }
  std::int64_t n_batches() const { return n_batches_; }
  std::int64_t pending() const { return pending_; }
  std::int64_t arena_bytes() const { return step_.bytes(); }
  std::string describe();
  const std::shared_ptr<const Graph<T>>& graph() const { return graph_; }
  std::shared_ptr<const StepConfig<T>> config() const { return config_; }
  const BatchSource<T>& source() const { return source_; }
  Counter& steps() { return *steps_; }  // of the optimizer, so far
  Counter& draws() { return *draws_; }  // training batches so far

 private:
  // What rank 0 writes at every batch, on cache lines apart from what the other members read.
  alignas(64) std::int64_t batch_ = 0, pending_ = 0;  // pending: batches whose gradients wait for an update
  Results<T> results_;

  BatchJob<T> next_job(std::int64_t batch, std::int64_t pending, double rate) const;
  // BatchJob::counted of all batches, one after the other; empty where all positions count.
  std::vector<double> count_terms(std::int64_t batch_size, const std::int64_t* order) const;
  void count_stretch(BatchJob<T> job);  // its losses and metrics join those of the pass
  double add_results(const Outputs<T>& outputs, const BatchJob<T>& job, bool count_metrics);
  void add_penalty(double penalty, std::int64_t n);
  DivergedReport report(std::int64_t batch);
  std::int64_t samples_done() const { return std::min(batch_ * batch_size_, source_.n); }

  // The batches from the present one on, by a team of `size` threads, until the slice ends or another size is better.
  struct Slice;
  void run_slice(Slice& slice, Crew& crew, int size);

  alignas(64) std::shared_ptr<Counter> steps_, draws_;
  std::shared_ptr<const Graph<T>> graph_;
  std::shared_ptr<StepConfig<T>> config_;
  TrainingStep<T> step_;
  Crews crews_[3];                                     // of evaluations, training, gradients
  std::unique_ptr<TrainingStep<T>> gradient_step_[2];  // without and with gradients of the inputs
  TrainingStep<T>* last_ = nullptr;
  std::vector<std::vector<Metric<T>>> metrics_;
  BatchSource<T> source_;
  std::int64_t samples_ = 0;
  DivergedReport diverged_, flaw_;
  bool has_diverged_ = false, has_flaw_ = false;
  Buffer<std::int64_t> order_;
  std::vector<double> terms_;  // of the epoch's batches, as they are counted
  bool shuffle_ = false, update_ = true, more_ = false;
  bool goes_on_ = false;  // a pass over stretches, some of whose losses are counted
  std::int64_t batch_size_ = 1, n_batches_ = 0;
  States<T> states_;
  double still_penalty_ = 0;  // of an evaluation, where no weight changes
};

}  // namespace bp
