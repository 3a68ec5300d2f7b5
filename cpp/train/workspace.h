// What the parts of a training step share: what is computed, and the memory that it is computed in.
#pragma once

#include <atomic>

#include "plan/frame.h"
#include "train/job.h"

namespace bp {

template <class T> struct Workspace {
  std::shared_ptr<const Graph<T>> graph;
  std::shared_ptr<const StepConfig<T>> config;
  std::shared_ptr<const Plan<T>> plan;
  std::unique_ptr<Frame<T>> frame;  // for batches of up to `capacity` samples
  std::int64_t capacity = 0;
  // By thread, each an allocation of its own, so that a sanitizer sees who writes past its end.
  std::vector<Buffer<T>> scratch;
  std::atomic<bool> flawed{false};  // something of this batch is not finite
  // Its update may leave something that is not: in any case, or if a gradient is as large as nothing excludes.
  std::atomic<bool> doubtful{false}, unbounded{false};

  const Step<T>& step(int s) const { return plan->steps()[static_cast<std::size_t>(s)]; }
  const ParameterView<T>& param(int p) const { return graph->params[static_cast<std::size_t>(p)]; }
  Io<T>& io(int s) const { return frame->io(static_cast<std::size_t>(s)); }
  void doubt() { doubtful.store(true, std::memory_order_relaxed); }
  void doubt_gradients() { unbounded.store(true, std::memory_order_relaxed); }
  void clear() {
    flawed.store(false, std::memory_order_relaxed);
    doubtful.store(false, std::memory_order_relaxed);
    unbounded.store(false, std::memory_order_relaxed);
  }
  void flaw() { flawed.store(true, std::memory_order_relaxed); }

  // The batch's input values of some samples, but for one of the inputs.
  void gather(Rows rows, const BatchJob<T>& job, int but = -1) const {
    const BatchSource<T>& source = *job.source;
    for (std::size_t k = 0; k < source.xs.size(); ++k) {
      const int input = graph->inputs[k];
      if (!plan->computed(input) || static_cast<int>(k) == but) continue;
      source.xs[k].read(job.order, {job.rows.begin + rows.begin, job.rows.begin + rows.end},
                        frame->value(input) + rows.begin * source.xs[k].row_size());
    }
  }
};

}  // namespace bp
