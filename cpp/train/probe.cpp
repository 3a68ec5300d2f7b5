#include "train/probe.h"

#include <algorithm>
#include <chrono>

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

template <class T> NonFinite Probe<T>::flaw_in_forward(std::int64_t n) const {
  const Graph<T>& graph = *work_.graph;
  const auto name = [&](int node) { return graph.nodes[static_cast<std::size_t>(node)].name; };
  const auto flawed = [&](int value) {
    return row_that_is_not_finite(work_.frame->value(value), n, graph.size(value));
  };
  for (int input : graph.inputs) {
    if (!work_.plan->computed(input)) continue;
    if (const std::int64_t row = flawed(input); row >= 0) return {name(input), "input", row};
  }
  for (const Step<T>& step : work_.plan->steps()) {
    for (int p : step.params) {
      if (!kernels<T>().all_finite(work_.param(p).value, size_of(work_.param(p).shape)))
        return {step.name, "weight", -1};
    }
    // The output's name: that of the fused activation, if there is one.
    if (const std::int64_t row = flawed(step.output); row >= 0) return {name(step.output), "output", row};
  }
  for (std::size_t k = 0; k < outputs_.count(); ++k) {
    const BoundLoss<T>& loss = outputs_.bound(k);
    const std::int64_t row = row_that_is_not_finite(outputs_.row_loss(k), n, loss.positions);
    if (row >= 0) return {name(loss.output), "loss", row};
  }
  return {};
}

template <class T> NonFinite Probe<T>::first_flaw(std::int64_t n) const {
  if (const NonFinite found = flaw_in_forward(n); !found.tensor.empty()) return found;
  if (const std::string penalty = update_.penalties().flaw(); !penalty.empty()) return {penalty, "penalty", -1};
  const auto& steps = work_.plan->steps();
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (!steps[s].backward) continue;
    const int output = steps[s].output;
    const std::int64_t row = row_that_is_not_finite(work_.frame->gradient(output), n, work_.graph->size(output));
    if (row >= 0) return {steps[s].name, "delta", row};
  }
  return update_.flaw();
}

// Backward costs about as many flops as forward for dx, and once more for the gradients of the parameters.
template <class T> void Probe<T>::measure_sizes(std::int64_t n, BatchProfile* found) const {
  const std::int64_t item = static_cast<std::int64_t>(sizeof(T));
  for (const Step<T>& step : work_.plan->steps()) {
    StepProfile profile;
    profile.layer = step.name;
    std::int64_t in = 0, wanted = 0, params = 0, trained = 0;
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const std::int64_t size = work_.graph->size(step.inputs[i]);
      in += size;
      if (step.wants_dx[i]) wanted += size;
    }
    for (int p : step.params) {
      const ParameterView<T>& param = work_.param(p);
      params += size_of(param.shape);
      if (param.trainable) trained += size_of(param.shape);
    }
    const std::int64_t out = work_.graph->size(step.output), flops = n * step.op->sizes().flops;
    profile.forward_flops = flops;
    profile.forward_bytes = item * (n * (in + out) + params);
    if (step.backward) {
      profile.backward_flops = wanted > 0 ? flops : 0;
      profile.backward_bytes = item * (n * (out + wanted) + (wanted > 0 ? params : 0));
      if (trained > 0) {
        const auto slots = work_.config->has_optimizer ? slot_count(work_.config->optimizer) : 0;
        profile.update_flops = flops;
        profile.update_bytes = item * (n * (in + out) + 2 * (1 + slots) * trained);
      }
    }
    found->steps.push_back(std::move(profile));
  }
}

template <class T> void Probe<T>::profile_update(Team& alone, const BatchJob<T>& job, BatchProfile* found) {
  T* scratch = work_.scratch[0].data();
  T* g = update_.tile_gradient(0);
  const Tiles<T>& tiles = update_.tiles();
  const std::int64_t n = job.rows.count();
  const auto timed = [&](int step, auto&& work) {
    const auto start = Clock::now();
    work();
    found->steps[static_cast<std::size_t>(step)].update += seconds_since(start);
  };
  for (std::int64_t t = 0, end = 0; t < tiles.count(); t = end) {
    end = update_.end_of_run(t, tiles.count(), n);
    const OwnedTile& tile = tiles[t];
    const auto& uses = work_.plan->uses(tile.param);
    if (update_.in_place(tile.param, n)) {
      timed(uses[0].step, [&] { update_.run_in_place({t, end}, alone, n, scratch); });
      continue;
    }
    for (const ParameterUse& use : uses) {
      const bool adds = &use != uses.data();
      timed(use.step,
            [&] { work_.step(use.step).op->accumulate(work_.io(use.step), use.slot, tile, {0, n}, g, adds, scratch); });
    }
    if (uses.empty() || !work_.config->has_optimizer) continue;
    timed(uses.back().step, [&] {
      update_.clip(g, tile.size(), 1);
      update_.apply(t, g, update_.weights());
    });
  }
}

template <class T> BatchProfile Probe<T>::profile(Team& alone, const BatchJob<T>& job) {
  BatchProfile found;
  const std::int64_t n = job.rows.count();
  measure_sizes(n, &found);
  update_.set_rate(job);
  work_.frame->set_batch(n);
  schedule_.each_call(n, [&](const Call& call, Rows rows) {
    const auto start = Clock::now();
    schedule_.make(call, rows, alone, job, work_.scratch[0].data());
    const double seconds = seconds_since(start);
    if (call.phase == Phase::kGather) {
      found.gather += seconds;
    } else if (call.phase == Phase::kLoss || call.phase == Phase::kObjective) {
      found.loss += seconds;
    } else {
      StepProfile& of = found.steps[static_cast<std::size_t>(call.index)];
      (call.phase == Phase::kForward ? of.forward : of.backward) += seconds;
    }
  });
  profile_update(alone, job, &found);
  work_.flawed.store(false, std::memory_order_relaxed);
  return found;
}

template class Probe<float>;
template class Probe<double>;

}  // namespace bp
