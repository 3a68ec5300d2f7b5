#include "solve/signs.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

constexpr double kGrow = 1.2, kShrink = 0.5, kLeast = 1e-6, kMost = 50, kMoves = 1e-3;

double sign(double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0; }

std::vector<double> copy(const Buffer<double>& from) { return {from.data(), from.data() + from.size()}; }

}  // namespace

SignSteps::SignSteps(const Problem& problem)
    : rule_(static_cast<Rule>(static_cast<int>(problem.option("rule")))), rate_(problem.option("learning_rate")),
      objective_(problem), size_(objective_.size()), gradient_(size_), before_(size_), size_of_step_(size_),
      step_(size_) {
  if (rule_ == Rule::kQuickprop) mu_ = problem.option("mu"), decay_ = problem.option("decay");
  std::fill_n(size_of_step_.data(), size_, rate_);
}

double SignSteps::rprop(std::int64_t i, bool rose) {
  double g = gradient_[i];
  double& d = size_of_step_[i];
  const double change = before_[i] * g;
  double move = 0;
  if (change > 0) d = std::min(kGrow * d, kMost);
  if (change < 0) d = std::max(kShrink * d, kLeast);
  const bool plus = rule_ == Rule::kRpropPlus || rule_ == Rule::kIrpropPlus;
  if (change < 0 && plus) {
    if (rule_ == Rule::kRpropPlus || rose) move = -step_[i];
    g = 0;
  } else {
    if (change < 0 && rule_ == Rule::kIrpropMinus) g = 0;
    move = -sign(g) * d;
  }
  before_[i] = g;
  return step_[i] = move;
}

double SignSteps::quickprop(std::int64_t i, double w) {
  const double slope = decay_ * w - gradient_[i], was = before_[i], last = step_[i], shrink = mu_ / (1 + mu_);
  double move = 0;
  if (last > kMoves) {
    if (slope > 0) move += rate_ * slope;
    move += slope > shrink * was ? mu_ * last : last * slope / (was - slope);
  } else if (last < -kMoves) {
    if (slope < 0) move += rate_ * slope;
    move += slope < shrink * was ? mu_ * last : last * slope / (was - slope);
  } else {
    move = rate_ * slope;
  }
  before_[i] = slope;
  return step_[i] = move;
}

Verdict SignSteps::iterate(const BatchSource<double>& source, const Poll& poll) {
  Trial trial(objective_.sweep());
  Buffer<double> w(size_, kUnwritten);
  std::copy_n(trial.before(), size_, w.data());
  const double loss = objective_.at(w.data(), gradient_.data(), source, poll);
  if (!std::isfinite(loss)) return Verdict::kNotFinite;
  gradient_norm_ = std::sqrt(kernels<double>().sum_squares(gradient_.data(), size_));
  const bool rose = begun_ && loss > last_loss_;
  for (std::int64_t i = 0; i < size_; ++i) w[i] += rule_ == Rule::kQuickprop ? quickprop(i, w[i]) : rprop(i, rose);
  last_loss_ = loss;
  begun_ = true;
  step_norm_ = std::sqrt(kernels<double>().sum_squares(step_.data(), size_));
  objective_.sweep().write_weights(w.data());
  trial.keep();
  return gradient_norm_ == 0 ? Verdict::kFlat : Verdict::kGoesOn;
}

Solver::State SignSteps::state() const {
  return {{"before", copy(before_)},
          {"sizes", copy(size_of_step_)},
          {"step", copy(step_)},
          {"loss", {begun_ ? 1.0 : 0.0, last_loss_}}};
}

void SignSteps::set_state(const State& state) {
  const std::vector<double> before = numbers_of(state, "before", size_), sizes = numbers_of(state, "sizes", size_);
  const std::vector<double> step = numbers_of(state, "step", size_), loss = numbers_of(state, "loss", 2);
  std::copy(before.begin(), before.end(), before_.data());
  std::copy(sizes.begin(), sizes.end(), size_of_step_.data());
  std::copy(step.begin(), step.end(), step_.data());
  begun_ = loss[0] != 0;
  last_loss_ = loss[1];
}

}  // namespace bp
