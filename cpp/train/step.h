// One training step, in its five phases and with its two barriers. See docs/architecture.md.
//
//   forward, loss, backward   by blocks of samples: a thread takes its own through all steps (schedule.h, outputs.h)
//   ---- barrier: every delta is known, no weight has changed
//   accumulate, update        by tiles of parameters: a tile's gradient meets the optimizer while in cache (update.h)
//   ---- barrier
// A step that needs the whole batch (a layer in Python) splits the first part by further barriers. A global gradient
// norm, accumulation over batches, or a caller who wants the gradients, materialise them and put a barrier before
// update. Penalties join a tile's gradient as it is accumulated; constraints follow the update, after one more barrier.
// A wide first layer is passed from thread to thread in forward, which leaves nothing to see here (relay.h).
#pragma once

#include "base/crew.h"
#include "train/probe.h"

namespace bp {

// How a stretch goes back.
struct Backward {
  bool losses, penalties;  // its own losses, and the penalties, are part of what the pass minimises
  bool add;                // to gradients that wait
};

template <class T> class TrainingStep {
 public:
  TrainingStep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config, bool wrt_inputs);

  // Before each run: batches of up to n samples of the source, by teams of up to `threads` threads, of which each batch
  // may take another number (tests/cpp/teams.cpp). Allocates; run() never does.
  void prepare(const BatchSource<T>& source, std::int64_t n, int threads, bool training, std::uint64_t draw);
  int threads(std::int64_t n, bool training) const;  // worth waking for n samples, if nobody else is on the machine
  double seconds(std::int64_t n, bool training) const { return seconds_for(flops(n, training)); }  // perhaps
  std::int64_t bytes() const { return (work_.frame == nullptr ? 0 : work_.frame->bytes()) + update_.gradient_bytes(); }

  // The step. `between` runs on rank 0 after the first barrier, beside accumulate and update: sums, metrics, the clock.
  // Returns whether all was finite: losses, deltas, and what the update leaves; if not, nothing was updated.
  template <class Between> bool run(Team& team, const BatchJob<T>& job, Between&& between);

  // The update alone, from the gradients of earlier batches; job.rows is empty. Returns the same, as does apply().
  bool finish(const BatchJob<T>& job);

  // The step in parts, after prepare(), where the config names values whose gradients are handed in: forward, which
  // keeps what backward needs; backward from what stands in gradient() of those values, with the gradients of the
  // parameters added to arrays by parameter (none: left out) and with those of the inputs or without (job.wrt_inputs).
  // Each says whether all was finite; if not, no gradient was added. And the update alone, from gradients in arrays by
  // parameter.
  bool forward(const BatchJob<T>& job, int threads, Crew& crew);
  bool backward(const BatchJob<T>& job, int threads, const std::vector<T*>& to, Crew& crew);
  bool apply(const BatchJob<T>& job, const std::vector<const T*>& from);

  // Sequences in stretches (train/stretch.h), each in a frame of its own, which takes the place of the step's
  // meanwhile. Backward of up to n samples from the gradients of the states with which the stretch behind began; with
  // its own losses or without. The gradients of the parameters, and penalties, join those that wait for an update, if
  // `add`.
  void make_frame(std::int64_t n);  // for so many samples, where there is none
  void swap_frame(std::unique_ptr<Frame<T>>& frame) { std::swap(work_.frame, frame); }
  bool go_back(std::int64_t n, const Frame<T>* behind, const Backward& how, int threads, Crew& crew);

  // Of the last batch, after its team.
  const Outputs<T>& outputs() const { return outputs_; }
  T* value(int v) { return work_.frame->value(v); }
  // What the op that makes value v keeps of each sample, and how many numbers that are; null: nothing, or there is
  // none.
  const T* saved(int v, std::int64_t* size) const {
    const auto& steps = work_.plan->steps();
    for (std::size_t s = 0; s < steps.size(); ++s) {
      *size = steps[s].op->sizes().saved;
      if (steps[s].output == v) return work_.frame->io(s).saved;
    }
    return nullptr;
  }
  Frame<T>* frame() { return work_.frame.get(); }  // null before the first batch
  const Plan<T>& plan() const { return *work_.plan; }
  T* gradient(int v) { return work_.frame->gradient(v); }
  void copy_gradient(int param, T* to) const { update_.copy_gradient(param, to); }  // materialised
  void fill_frame() { relay_.fill_frame(); }  // for whoever looks at values of the first layer's data
  NonFinite first_flaw(std::int64_t n) { return probe().first_flaw(n); }
  NonFinite flaw_in_forward(std::int64_t n) { return probe().flaw_in_forward(n); }
  NonFinite flaw_of_update() const { return update_.flaw(); }
  void take_waiting(const TrainingStep& other) { update_.take_waiting(other.update_); }
  void note_change();  // of all parameters, and of the optimizer's state

  Penalties<T>& penalties() { return update_.penalties(); }
  void materialise() { update_.materialise(); }
  Probe<T> probe() { return Probe<T>(work_, outputs_, schedule_, update_); }
  std::string describe(std::int64_t n) const;

 private:
  void look_at_penalties();
  template <class First> bool update_alone(const BatchJob<T>& job, First&& first);
  bool complete(Team& team, const BatchJob<T>& job);
  bool take_flaw() { return work_.flawed.exchange(false, std::memory_order_relaxed); }
  void make_scratch(int threads);
  int threads_of_update() const;
  std::int64_t flops(std::int64_t n, bool training) const;

  Workspace<T> work_;
  Outputs<T> outputs_;
  Relay<T> relay_;
  Tiles<T> tiles_;
  Schedule<T> schedule_;
  Update<T> update_;
  Crew applying_;
  Buffer<T> copy_;  // of what a stretch saved
};

template <class T>
template <class Between>
bool TrainingStep<T>::run(Team& team, const BatchJob<T>& job, Between&& between) {
  // Beside the other threads' samples: no weight changes before the barrier.
  if (team.rank == 0 && job.training) look_at_penalties();
  schedule_.run(team, job);
  update_.look(team, job);
  team.barrier();
  bool sound = !work_.flawed.load(std::memory_order_relaxed);
  const bool collected = job.training && sound && update_.begin(team, job);
  const bool doubtful = job.training && work_.doubtful.load(std::memory_order_relaxed);
  if (sound && doubtful) sound = update_.try_out(team, job, collected);
  if (team.rank == 0) {
    between(sound);
    work_.frame->set_draw(job.draw + 1);  // no op reads it before the next batch
    if (sound && job.training) work_.frame->keep_carried();
  }
  if (work_.config->between_may_throw && job.training)
    team.barrier();  // a metric in Python raises before any weight changes
  if (job.training && sound) {
    if (doubtful) {
      update_.take_over(team, job);
    } else {
      update_.run(team, job, collected);
    }
    if (job.update) update_.align_signs(team);
  }
  if (!sound) {  // cleared when all have read it, and before any member starts the next step
    team.barrier();
    if (team.rank == 0) work_.clear();
  }
  team.barrier();
  return sound;
}

}  // namespace bp
