// A training step under the magnifying glass: the first value that is not finite, and the time of every call.
#include "train/step.h"

#include <algorithm>

#include "plan/inference.h"

namespace bp {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

template <class T> std::int64_t row_that_is_not_finite(const T* x, std::int64_t rows, std::int64_t size) {
  for (std::int64_t r = 0; x != nullptr && r < rows; ++r) {
    if (!kernels<T>().all_finite(x + r * size, size)) return r;
  }
  return -1;
}

}  // namespace

template <class T> NonFinite TrainingStep<T>::first_flaw(std::int64_t n) {
  std::int64_t row = -1;
  const auto flawed = [&](const T* x, std::int64_t size) { return (row = row_that_is_not_finite(x, n, size)) >= 0; };
  const auto& nodes = graph_->nodes;
  const auto& steps = plan_->steps();
  for (int input : graph_->inputs) {
    if (!plan_->computed(input) || !flawed(value(input), graph_->size(input))) continue;
    return {nodes[static_cast<std::size_t>(input)].name, "input", row};
  }
  for (const Step<T>& step : steps) {
    for (int p : step.params) {
      const ParameterView<T>& param = graph_->params[static_cast<std::size_t>(p)];
      if (!kernels<T>().all_finite(param.value, size_of(param.shape))) return {step.name, "weight", -1};
    }
    const std::string& maker = nodes[static_cast<std::size_t>(step.output)].name;  // of the fused activation, if any
    if (flawed(value(step.output), graph_->size(step.output))) return {maker, "output", row};
  }
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const BoundLoss<T>& loss = config_->losses[k];
    if (!flawed(outputs_[k].row_loss.data(), loss.positions)) continue;
    return {nodes[static_cast<std::size_t>(loss.output)].name, "loss", row};
  }
  if (const std::string penalty = penalties_.flaw(); !penalty.empty()) return {penalty, "penalty", -1};
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (!steps[s].backward) continue;
    if (flawed(gradient(steps[s].output), graph_->size(steps[s].output))) return {steps[s].name, "delta", row};
  }
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (steps[s].backward && !sound_delta(s, {0, n}, n)) return {steps[s].name, "gradient", -1};
  }
  return {"", "gradient", -1};
}

// Backward costs about as many flops as forward for dx, and once more for the gradients of the parameters.
template <class T> void TrainingStep<T>::measure_sizes(std::int64_t n, BatchProfile* found) const {
  const std::int64_t item = static_cast<std::int64_t>(sizeof(T));
  for (const Step<T>& step : plan_->steps()) {
    StepProfile profile;
    profile.layer = step.name;
    std::int64_t in = 0, wanted = 0, params = 0, trained = 0;
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const std::int64_t size = graph_->size(step.inputs[i]);
      in += size;
      if (step.wants_dx[i]) wanted += size;
    }
    for (int p : step.params) {
      const ParameterView<T>& param = graph_->params[static_cast<std::size_t>(p)];
      params += size_of(param.shape);
      if (param.trainable) trained += size_of(param.shape);
    }
    const std::int64_t out = graph_->size(step.output), flops = n * step.op->flops();
    profile.forward_flops = flops;
    profile.forward_bytes = item * (n * (in + out) + params);
    if (step.backward) {
      profile.backward_flops = wanted > 0 ? flops : 0;
      profile.backward_bytes = item * (n * (out + wanted) + (wanted > 0 ? params : 0));
      if (trained > 0) {
        const auto slots = config_->has_optimizer ? slot_count(config_->optimizer) : 0;
        profile.update_flops = flops;
        profile.update_bytes = item * (n * (in + out) + 2 * (1 + slots) * trained);
      }
    }
    found->steps.push_back(std::move(profile));
  }
}

template <class T> void TrainingStep<T>::profile_update(const BatchJob<T>& job, BatchProfile* found) {
  T* scratch = scratch_[0].data();
  T* g = tile_gradient_[0].data();
  const auto tiles = static_cast<std::int64_t>(tiles_.size());
  for (std::int64_t t = 0, end = 0; t < tiles; t = end) {
    end = end_of_run(t, tiles, job.rows.count());
    const OwnedTile& tile = tiles_[static_cast<std::size_t>(t)];
    if (job.rows.count() <= tile.in_place) {
      const auto start = Clock::now();
      descend({t, end}, 0, job.rows.count(), scratch);
      found->steps[static_cast<std::size_t>(plan_->uses(tile.param)[0].step)].update += seconds_since(start);
      continue;
    }
    bool adds = false;
    int last = -1;
    for (const ParameterUse& use : plan_->uses(tile.param)) {
      const auto start = Clock::now();
      const auto s = static_cast<std::size_t>(use.step);
      plan_->steps()[s].op->accumulate(frame_->io(s), use.slot, tile, job.rows.count(), g, adds, scratch);
      found->steps[s].update += seconds_since(start);
      adds = true;
      last = use.step;
    }
    if (last < 0 || !config_->has_optimizer) continue;
    const auto start = Clock::now();
    clip(g, tile.size(), 1);
    apply(tile, g);
    found->steps[static_cast<std::size_t>(last)].update += seconds_since(start);
  }
}

template <class T> BatchProfile TrainingStep<T>::profile(const BatchJob<T>& job) {
  BatchProfile found;
  const std::int64_t n = job.rows.count();
  measure_sizes(n, &found);
  if (config_->has_optimizer) hyper_.set(job.learning_rate, job.step);
  const auto timed = [&](const Call& what, Rows rows) {
    const auto start = Clock::now();
    call(what, rows, job, scratch_[0].data());
    const double seconds = seconds_since(start);
    if (what.phase == Phase::kGather) {
      found.gather += seconds;
    } else if (what.phase == Phase::kLoss) {
      found.loss += seconds;
    } else {
      StepProfile& of = found.steps[static_cast<std::size_t>(what.index)];
      (what.phase == Phase::kForward ? of.forward : of.backward) += seconds;
    }
  };
  for (std::size_t first = 0; first < calls_.size();) {
    std::size_t last = first;
    while (last < calls_.size() && !needs_all_rows(calls_[last].partition)) ++last;
    if (last == first) {
      timed(calls_[first++], {0, n});
      continue;
    }
    for (Rows block{0, 0}; block.begin < n; block.begin = block.end) {
      block.end = std::min(block.begin + kRowBlock, n);
      for (std::size_t c = first; c < last; ++c) timed(calls_[c], block);
    }
    first = last;
  }
  profile_update(job, &found);
  flawed_.store(false, std::memory_order_relaxed);
  return found;
}

template NonFinite TrainingStep<float>::first_flaw(std::int64_t n);
template NonFinite TrainingStep<double>::first_flaw(std::int64_t n);
template BatchProfile TrainingStep<float>::profile(const BatchJob<float>& job);
template BatchProfile TrainingStep<double>::profile(const BatchJob<double>& job);

}  // namespace bp
