#include "solve/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "solve/line_search.h"

namespace bp {
namespace {

constexpr double kRounding = 1e-12;  // of the loss

double dot(const double* x, const double* y, std::int64_t n) { return kernels<double>().dot(x, y, n); }

}  // namespace

Lbfgs::Lbfgs(const Problem& problem)
    : objective_(problem), size_(objective_.size()), memory_(static_cast<std::int64_t>(problem.option("memory"))),
      tol_(problem.option("tol")), s_(checked_mul(memory_, size_)), y_(checked_mul(memory_, size_)), gradient_(size_),
      next_gradient_(size_), direction_(size_), next_(size_), known_(size_) {}

void Lbfgs::find_direction() {
  std::vector<double> factor(static_cast<std::size_t>(count_));
  std::copy_n(gradient_.data(), size_, direction_.data());
  kernels<double>().scale(-1.0, direction_.data(), size_);
  for (std::int64_t k = count_; k-- > 0;) {
    double& a = factor[static_cast<std::size_t>(k)];
    a = dot(pair(s_, k), direction_.data(), size_) / dot(pair(s_, k), pair(y_, k), size_);
    kernels<double>().axpy(-a, pair(y_, k), direction_.data(), size_);
  }
  if (count_ > 0) {
    const double *s = pair(s_, count_ - 1), *y = pair(y_, count_ - 1);
    kernels<double>().scale(dot(s, y, size_) / dot(y, y, size_), direction_.data(), size_);
  }
  for (std::int64_t k = 0; k < count_; ++k) {
    const double b = dot(pair(y_, k), direction_.data(), size_) / dot(pair(s_, k), pair(y_, k), size_);
    kernels<double>().axpy(factor[static_cast<std::size_t>(k)] - b, pair(s_, k), direction_.data(), size_);
  }
}

// Along direction_: next_, next_value_ and next_gradient_ of a good step.
bool Lbfgs::search(const double* w, double value, const BatchSource<double>& source, const Poll& poll) {
  const double slope = dot(gradient_.data(), direction_.data(), size_);
  if (!(slope < 0)) return false;
  const double length = std::sqrt(dot(direction_.data(), direction_.data(), size_));
  LineSearch line(value, slope, count_ > 0 ? 1.0 : std::min(1.0, 1.0 / length));
  double evaluated = -1;
  const auto evaluate = [&] {
    evaluated = line.step();
    std::copy_n(w, size_, next_.data());
    kernels<double>().axpy(evaluated, direction_.data(), next_.data(), size_);
    next_value_ = objective_.at(next_.data(), next_gradient_.data(), source, poll);
  };
  for (;;) {
    evaluate();
    const LineSearch::State found = line.advance(next_value_, dot(next_gradient_.data(), direction_.data(), size_));
    if (found == LineSearch::State::kFailed) return false;
    if (found == LineSearch::State::kEvaluate) continue;
    if (line.step() != evaluated) evaluate();
    return next_value_ <= value;
  }
}

void Lbfgs::remember(const double* w) {
  Buffer<double> s(size_, kUnwritten), y(size_, kUnwritten);
  for (std::int64_t i = 0; i < size_; ++i) {
    s[i] = next_[i] - w[i];
    y[i] = next_gradient_[i] - gradient_[i];
  }
  if (!(dot(s.data(), y.data(), size_) > std::numeric_limits<double>::epsilon() * dot(y.data(), y.data(), size_)))
    return;
  if (memory_ == 0) return;
  if (count_ == memory_) {
    std::copy(s_.data() + size_, s_.data() + count_ * size_, s_.data());
    std::copy(y_.data() + size_, y_.data() + count_ * size_, y_.data());
    --count_;
  }
  std::copy_n(s.data(), size_, pair(s_, count_));
  std::copy_n(y.data(), size_, pair(y_, count_));
  ++count_;
}

Verdict Lbfgs::iterate(const BatchSource<double>& source, const Poll& poll) {
  Trial trial(objective_.sweep());
  const double* const w = trial.before();
  const std::int64_t before = objective_.evaluations();
  if (!has_known_ || !std::equal(w, w + size_, known_.data())) {
    has_known_ = false;
    known_value_ = objective_.at(w, gradient_.data(), source, poll);
    if (!std::isfinite(known_value_)) return Verdict::kNotFinite;
  }
  const double value = known_value_;
  step_norm_ = 0;
  gradient_norm_ = std::sqrt(dot(gradient_.data(), gradient_.data(), size_));
  evaluations_ = static_cast<double>(objective_.evaluations() - before);
  if (kernels<double>().max_abs(gradient_.data(), size_) <= tol_) return Verdict::kFlat;
  find_direction();
  bool found = search(w, value, source, poll);
  if (!found && count_ > 0) {
    count_ = 0;
    find_direction();
    found = search(w, value, source, poll);
  }
  evaluations_ = static_cast<double>(objective_.evaluations() - before);
  if (!found) {  // rounding hides what a step of this slope could gain
    has_known_ = false;
    const double gain = std::abs(dot(gradient_.data(), direction_.data(), size_));
    return gain <= kRounding * std::max(std::abs(value), 1e-30) ? Verdict::kTolerance : Verdict::kStuck;
  }
  trial.keep();
  remember(w);
  for (std::int64_t i = 0; i < size_; ++i) step_norm_ += (next_[i] - w[i]) * (next_[i] - w[i]);
  step_norm_ = std::sqrt(step_norm_);
  objective_.sweep().write_weights(next_.data());
  std::copy_n(next_.data(), size_, known_.data());
  std::swap(gradient_, next_gradient_);
  known_value_ = next_value_;
  has_known_ = true;
  gradient_norm_ = std::sqrt(dot(gradient_.data(), gradient_.data(), size_));
  if (kernels<double>().max_abs(gradient_.data(), size_) <= tol_) return Verdict::kFlat;
  return Verdict::kGoesOn;
}

Solver::Numbers Lbfgs::report() const {
  return {{"gradient_norm", gradient_norm_}, {"step_norm", step_norm_}, {"evaluations", evaluations_}};
}

Solver::State Lbfgs::state() const {
  const auto all = static_cast<std::size_t>(memory_ * size_);
  return {{"count", {static_cast<double>(count_)}},
          {"s", std::vector<double>(s_.data(), s_.data() + all)},
          {"y", std::vector<double>(y_.data(), y_.data() + all)}};
}

void Lbfgs::set_state(const State& state) {
  const std::vector<double> count = numbers_of(state, "count", 1);
  const std::vector<double> s = numbers_of(state, "s", memory_ * size_), y = numbers_of(state, "y", memory_ * size_);
  const auto pairs = static_cast<std::int64_t>(count[0]);
  check(count[0] >= 0 && count[0] <= static_cast<double>(memory_) && static_cast<double>(pairs) == count[0],
        "the state of a solver: count is no number of pairs");
  for (std::int64_t k = 0; k < pairs; ++k) {
    check(dot(s.data() + k * size_, y.data() + k * size_, size_) > 0,
          "the state of a solver: a pair without curvature");
  }
  std::copy(s.begin(), s.end(), s_.data());
  std::copy(y.begin(), y.end(), y_.data());
  count_ = pairs;
  has_known_ = false;
}

}  // namespace bp
