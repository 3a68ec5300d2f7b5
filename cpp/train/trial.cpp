#include "train/trial.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class T> double largest(const T* x, std::int64_t n) {
  return static_cast<double>(kernels<T>().max_abs(x, n));
}

// A bound that NaN, once seen, has left for good.
void raise(double* most, double value) { *most = value <= *most ? *most : std::isnan(value) ? kInfinity : value; }

}  // namespace

template <class T>
TrialUpdate<T>::TrialUpdate(Workspace<T>& work, const Tiles<T>& tiles)
    : work_(work), tiles_(tiles), preconditions_(work.config->has_optimizer && work.config->preconditioner),
      tile_bounds_(at(tiles.count())), tile_weight_(at(tiles.count()), 0.0) {
  for (const ParameterView<T>& param : work_.graph->params) own_.w.push_back(param.value);
  own_.slots = work_.config->slots;
  own_.slots.resize(own_.w.size());  // none without an optimizer
  for (const Step<T>& step : work_.plan->steps()) {
    for (int p : step.params) {
      if (step.op->sizes().kept > 0 && !work_.param(p).trainable) statistics_.push_back(p);
    }
  }
  limit_weights();
}

// Decay and penalties join the gradient: weight_decay w + l1 sign(w) + 2 l2 w. Norms are sums of squares in double, and
// scale a column up to `low` over 1e-7 at most. What a constraint in Python does nobody knows.
template <class T> void TrialUpdate<T>::limit_weights() {
  const StepConfig<T>& config = *work_.config;
  weight_limit_.assign(work_.graph->params.size(), kInfinity);
  for (std::size_t p = 0; p < weight_limit_.size(); ++p) {
    if (!work_.graph->params[p].trainable) continue;
    double decay = 0, constant = 0;
    if (config.has_optimizer && !config.optimizer.decoupled_decay) {
      decay =
          config.groups.empty() ? config.optimizer.weight_decay : config.groups[at(config.group_of[p])].weight_decay;
    }
    if (!config.penalties.empty()) {
      constant = std::abs(config.penalties[p].l1);
      decay += 2 * std::abs(config.penalties[p].l2);
    }
    if (decay + constant > 0) weight_limit_[p] = std::max(kCalm<T> - constant, 0.0) / std::max(decay, 1e-300);
    if (!config.constraints.empty()) {
      const ConstraintConfig<T>& constraint = config.constraints[p];
      always_ |= constraint.kind == Constraint::kUser;
      if (constraint.kind == Constraint::kNorm) {
        always_ |= !(constraint.low <= kLargest<T> * 1e-8);
        lowest_norm_ = std::max(lowest_norm_, constraint.low);
        if (sizeof(T) == 8) weight_limit_[p] = std::min(weight_limit_[p], kCalm<T>);
      }
    }
    if (weight_limit_[p] < kLargest<T>) least_limit_ = std::min(least_limit_, weight_limit_[p]);
  }
}

template <class T> void TrialUpdate<T>::prepare() {
  if (!used_) {
    copy_ = {};
    memory_.clear();
  }
  used_ = false;
  most_weight_ = kInfinity;                                                        // the caller may have set others
  if (!work_.config->has_optimizer || changes_ == work_.graph->changes()) return;  // nor has another trainer moved them
  bounds_ = {};
  for (std::size_t p = 0; p < own_.slots.size(); ++p) {
    const std::int64_t n = size_of(work_.graph->params[p].shape);
    for (std::size_t s = 0; s < own_.slots[p].size(); ++s) raise(&bounds_.most[s], largest(own_.slots[p][s], n));
  }
  note_own_change();
}

template <class T> template <class Visit> void TrialUpdate<T>::each_copied(std::int64_t t, Visit&& visit) {
  const std::size_t p = at(tiles_[t].param);
  each_run(tiles_[t], work_.param(tiles_[t].param), [&](std::int64_t offset, std::int64_t, std::int64_t n) {
    visit(own_.w[p] + offset, copy_.w[p] + offset, n, -1);
    for (std::size_t s = 0; s < own_.slots[p].size(); ++s) {
      visit(own_.slots[p][s] + offset, copy_.slots[p][s] + offset, n, static_cast<int>(s));
    }
  });
}

template <class T> void TrialUpdate<T>::look(const Team& team, const BatchJob<T>& job, const StepHyper<T>& hyper) {
  if (!job.training) return;
  bool sure = true;
  if (measures_weights()) {
    const Rows mine = tiles_.of(team.rank, team.size);
    for (std::int64_t t = mine.begin; t < mine.end; ++t) {
      const std::size_t p = at(tiles_[t].param);
      if (weight_limit_[p] == kInfinity) continue;
      double& most = tile_weight_[at(t)] = 0;
      each_run(tiles_[t], work_.param(tiles_[t].param), [&](std::int64_t offset, std::int64_t, std::int64_t n) {
        raise(&most, largest(own_.w[p] + offset, n));
      });
      sure &= most <= weight_limit_[p];
    }
  }
  if (team.rank == 0 && preconditions_) sure = false;
  if (team.rank == 0 && updates(job)) {
    sure &= !always_ && !wild_;
    step_ = 0;
    // What data, decay and a penalty in Python add is each at most a calm gradient.
    for (int group = 0; group < hyper.groups() && sure; ++group) {
      sure &= surely_finite(work_.config->optimizer, hyper.of(group), 4 * kCalm<T>, &bounds_);
      step_ = std::max(step_, bounds_.step);
    }
  }
  // Moving means stay below what moves them.
  if (team.rank == 0 && job.commit) sure &= work_.frame->largest_kept() <= kLargest<T> / 4;
  if (!sure) work_.doubt();
}

template <class T> void TrialUpdate<T>::move_on(const BatchJob<T>& job) {
  if (measures_weights()) most_weight_ = *std::max_element(tile_weight_.begin(), tile_weight_.end());
  if (updates(job)) most_weight_ = std::max(most_weight_ + step_, lowest_norm_);
}

// ---- the copy -------------------------------------------------------------------------------------------------------

template <class T> void TrialUpdate<T>::allocate() {
  used_ = true;
  if (!copy_.w.empty()) return;
  memory_.clear();  // of an attempt without enough memory
  Weights<T> made = own_;
  const auto copy = [&](std::size_t p) {
    memory_.emplace_back(size_of(work_.graph->params[p].shape), kUnwritten, "a copy of all weights");
    return memory_.back().data();
  };
  for (std::size_t p = 0; p < made.w.size(); ++p) {
    if (!work_.graph->params[p].trainable) continue;
    made.w[p] = copy(p);
    for (T*& slot : made.slots[p]) slot = copy(p);
  }
  for (int p : statistics_) made.w[at(p)] = copy(at(p));
  copy_ = std::move(made);
}

template <class T> Weights<T>& TrialUpdate<T>::copy(Team& team, const BatchJob<T>& job) {
  if (team.rank == 0) allocate();
  team.barrier();
  if (team.rank == 0) {
    for (int p : statistics_) std::copy_n(own_.w[at(p)], size_of(work_.param(p).shape), copy_.w[at(p)]);
  }
  const Rows mine = tiles_.of(team.rank, team.size);
  for (std::int64_t t = mine.begin; t < mine.end && updates(job); ++t) {
    each_copied(t, [](const T* own, T* copy, std::int64_t n, int) { std::copy_n(own, n, copy); });
  }
  return copy_;
}

template <class T> bool TrialUpdate<T>::tile_is_finite(std::int64_t t) {
  bool finite = true;
  tile_bounds_[at(t)] = {};
  each_copied(t, [&](const T*, const T* copy, std::int64_t n, int slot) {
    const double most = largest(copy, n);
    finite &= most <= kLargest<T>;
    if (slot >= 0) raise(&tile_bounds_[at(t)].most[slot], most);
  });
  return finite;
}

template <class T> bool TrialUpdate<T>::sound(Team& team, const BatchJob<T>& job) {
  team.barrier();
  if (team.rank == 0) {  // all have seen it
    work_.doubtful.store(false, std::memory_order_relaxed);
    work_.unbounded.store(false, std::memory_order_relaxed);
  }
  bool finite = true;
  const Rows mine = tiles_.of(team.rank, team.size);
  for (std::int64_t t = mine.begin; t < mine.end && updates(job); ++t) finite &= tile_is_finite(t);
  if (team.rank == 0) {
    for (int p : statistics_) finite &= kernels<T>().all_finite(copy_.w[at(p)], size_of(work_.param(p).shape));
  }
  if (!finite) work_.flaw();
  team.barrier();
  if (team.rank == 0) {
    wild_ = !updates(job);
    most_weight_ = kInfinity;
    if (updates(job)) bounds_ = {};
    for (std::size_t t = 0; t < tile_bounds_.size() && updates(job); ++t) {
      for (int s = 0; s < kMaxSlots; ++s) raise(&bounds_.most[s], tile_bounds_[t].most[s]);
    }
  }
  return !work_.flawed.load(std::memory_order_relaxed);
}

template <class T> void TrialUpdate<T>::take_over(const Team& team, const BatchJob<T>& job) {
  const Rows mine = tiles_.of(team.rank, team.size);
  for (std::int64_t t = mine.begin; t < mine.end && updates(job); ++t) {
    each_copied(t, [](T* own, const T* copy, std::int64_t n, int) { std::copy_n(copy, n, own); });
  }
  for (int p : statistics_) {
    if (team.rank == 0) std::copy_n(copy_.w[at(p)], size_of(work_.param(p).shape), own_.w[at(p)]);
  }
}

template <class T> bool TrialUpdate<T>::is_finite(int param) const {
  if (copy_.w.empty()) return true;
  const std::int64_t n = size_of(work_.param(param).shape);
  bool finite = kernels<T>().all_finite(copy_.w[at(param)], n);
  for (const T* slot : copy_.slots[at(param)]) finite &= kernels<T>().all_finite(slot, n);
  return finite;
}

template <class T> int TrialUpdate<T>::bad_statistics() const {
  for (int p : statistics_) {
    if (!copy_.w.empty() && !kernels<T>().all_finite(copy_.w[at(p)], size_of(work_.param(p).shape))) return p;
  }
  return -1;
}

template class TrialUpdate<float>;
template class TrialUpdate<double>;

}  // namespace bp
