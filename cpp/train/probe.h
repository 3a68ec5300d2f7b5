// A training step under the magnifying glass: the first value that is not finite, and the time of every call.
#pragma once

#include "train/schedule.h"
#include "train/update.h"

namespace bp {

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

template <class T> class Probe {
 public:
  Probe(Workspace<T>& work, const Outputs<T>& outputs, Schedule<T>& schedule, Update<T>& update)
      : work_(work), outputs_(outputs), schedule_(schedule), update_(update) {}

  // Of the last batch, of n samples, in the order of computation. All values lie in the frame.
  NonFinite first_flaw(std::int64_t n) const;
  NonFinite flaw_in_forward(std::int64_t n) const;
  // The step with a clock around every call, on one thread, gradients tile by tile.
  BatchProfile profile(Team& alone, const BatchJob<T>& job);

 private:
  void measure_sizes(std::int64_t n, BatchProfile* found) const;
  void profile_update(Team& alone, const BatchJob<T>& job, BatchProfile* found);

  Workspace<T>& work_;
  const Outputs<T>& outputs_;
  Schedule<T>& schedule_;
  Update<T>& update_;
};

extern template class Probe<float>;
extern template class Probe<double>;

}  // namespace bp
