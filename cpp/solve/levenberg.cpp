#include "solve/levenberg.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bp {
namespace {

double norm(const double* x, std::int64_t n) { return std::sqrt(kernels<double>().sum_squares(x, n)); }

}  // namespace

Levenberg::Levenberg(const Problem& problem)
    : mu_(problem.option("mu")), mu_dec_(problem.option("mu_dec")), mu_inc_(problem.option("mu_inc")),
      mu_max_(problem.option("mu_max")), min_grad_(problem.option("min_grad")), goal_(problem.option("goal")),
      marquardt_(problem.option("marquardt") != 0), bayesian_(problem.option("bayesian") != 0),
      sweep_(problem.graph, problem.config, predictions(*problem.config), problem.offsets), normal_(sweep_),
      cholesky_(sweep_.size()), size_(sweep_.size()), decay_(size_),
      matrix_(checked_mul(size_, size_), kUnwritten, "J^T J with its damping"), gradient_(size_),
      damped_(checked_mul(size_, size_), kUnwritten, "J^T J with its damping"), step_(size_),
      gamma_(static_cast<double>(size_)) {
  expect_one_function(sweep_);
  const StepConfig<double>& config = *problem.config;
  for (const BoundLoss<double>& loss : config.losses) {
    check(has_factor(loss),
          "got the loss " + describe(loss) +
              ", expected a sum of squares (mse, half_squared_error) or a cross entropy of logits, softmax or "
              "sigmoid, of which J^T J makes a model; use bpcore.optimizers.LBFGS for other losses");
    all_squares_ &= is_sum_of_squares(loss);
    halves_ |= loss.config.kind == Loss::kHalfSquaredError;
    outputs_ += loss.positions * loss.width;
  }
  check(all_squares_ || !bayesian_,
        "regularization='bayesian' weighs sums of squares, got a cross entropy; use an l2 "
        "regularizer with it");
  for (std::size_t p = 0; p < config.penalties.size(); ++p) {
    const PenaltyConfig<double>& penalty = config.penalties[p];
    check(penalty.l1 == 0 && penalty.user == nullptr, "got an l1 penalty or one in Python on '" +
                                                          problem.graph->params[p].name +
                                                          "', expected l2, whose curvature is known; use "
                                                          "bpcore.optimizers.LBFGS for others");
    if (problem.offsets[p] < 0) continue;
    std::fill_n(decay_.data() + problem.offsets[p], size_of(problem.graph->params[p].shape), penalty.l2);
  }
}

double Levenberg::penalty(const double* w) const {
  double sum = 0;
  for (std::int64_t i = 0; i < size_; ++i) sum += decay_[i] * w[i] * w[i];
  return sum;
}

double Levenberg::objective(double loss, const double* w, const Weights& by) const {
  const double value = by.errors * by.unit * (loss + penalty(w));
  return by.prior == 0 ? value : value + by.prior * kernels<double>().sum_squares(w, size_);
}

void Levenberg::gather(const double* w, const Weights& by) {
  const double scale = by.errors * by.unit / 2;
  for (std::int64_t i = 0; i < size_; ++i) {
    const double* from = normal_.matrix() + i * size_;
    double* to = matrix_.data() + i * size_;
    for (std::int64_t j = i; j < size_; ++j) to[j] = scale * from[j];
    to[i] += scale * 2 * decay_[i] + by.prior;
    if (w != nullptr) gradient_[i] = scale * (normal_.gradient()[i] + 2 * decay_[i] * w[i]) + by.prior * w[i];
  }
}

// trainbr's rules, from Q and F of the weights as they are.
void Levenberg::weigh_evidence(double squares, double weights, double errors, const Poll& poll) {
  if (weighed_) {
    gather(nullptr, {errors_unit_, beta_, alpha_});
    std::swap(matrix_, damped_);
    if (cholesky_.factor(damped_.data(), size_, poll)) {
      const double trace = cholesky_.trace_of_inverse(damped_.data(), size_, poll);
      gamma_ = std::clamp(static_cast<double>(size_) - alpha_ * trace, 0.0, static_cast<double>(size_));
    }
  }
  weighed_ = true;
  alpha_ = weights > 0 ? gamma_ / (2 * weights) : 1;
  beta_ = squares > 0 && errors > gamma_ ? (errors - gamma_) / (2 * squares) : 1;
}

bool Levenberg::find_step(const Poll& poll) {
  for (std::int64_t i = 0; i < size_; ++i) {
    const double* from = matrix_.data() + i * size_;
    double* to = damped_.data() + i * size_;
    std::copy_n(from + i, size_ - i, to + i);
    to[i] += mu_ * (marquardt_ ? from[i] : 1.0);
    step_[i] = -gradient_[i];
  }
  if (!cholesky_.factor(damped_.data(), size_, poll)) return false;
  cholesky_.solve(damped_.data(), size_, step_.data());
  return true;
}

Verdict Levenberg::iterate(const BatchSource<double>& source, const Poll& poll) {
  Trial trial(sweep_);
  const double* const w = trial.before();
  const double samples = static_cast<double>(source.n), errors = samples * static_cast<double>(outputs_);
  const double loss = normal_.evaluate(source, poll, std::exchange(known_, false));
  tries_ = step_norm_ = 0;
  errors_unit_ = all_squares_ ? errors : 2 * samples;
  if (all_squares_ && halves_) errors_unit_ = 2 * samples;
  if (!std::isfinite(loss) || !kernels<double>().all_finite(normal_.gradient(), size_)) return Verdict::kNotFinite;
  if (bayesian_) weigh_evidence(errors_unit_ * loss, kernels<double>().sum_squares(w, size_), errors, poll);
  const Weights by{errors_unit_, beta_, alpha_};
  const double now = objective(loss, w, by);
  gather(w, by);
  gradient_norm_ = norm(gradient_.data(), size_) * 2 / errors_unit_;
  if (loss + penalty(w) <= goal_) return Verdict::kGoal;
  if (gradient_norm_ < min_grad_) return Verdict::kFlat;
  Buffer<double> next(size_, kUnwritten);
  while (mu_ <= mu_max_) {
    ++tries_;
    if (find_step(poll)) {
      for (std::int64_t i = 0; i < size_; ++i) next[i] = w[i] + step_[i];
      sweep_.write_weights(next.data());
      const double after = normal_.loss(source, poll);
      if (objective(after, next.data(), by) < now) {
        trial.keep();
        known_ = true;
        whole_ = normal_.holds(source);
        mu_ = std::max(mu_ * mu_dec_, 1e-20);
        step_norm_ = norm(step_.data(), size_);
        return after + penalty(next.data()) <= goal_ ? Verdict::kGoal : Verdict::kGoesOn;
      }
    }
    mu_ *= mu_inc_;
  }
  return Verdict::kStuck;
}

Solver::Numbers Levenberg::report() const {
  Numbers numbers{{"mu", mu_}, {"gradient_norm", gradient_norm_}, {"step_norm", step_norm_}};
  if (bayesian_) numbers.emplace_back("effective_parameters", gamma_);
  return numbers;
}

Solver::State Levenberg::state() const {
  return {{"mu", {mu_}}, {"evidence", {weighed_ ? 1.0 : 0.0, gamma_, alpha_, beta_}}};
}

void Levenberg::set_state(const State& state) {
  const std::vector<double> mu = numbers_of(state, "mu", 1), evidence = numbers_of(state, "evidence", 4);
  check(mu[0] > 0, "the state of a solver: mu must be above 0");
  check(evidence[1] >= 0 && evidence[2] >= 0 && evidence[3] > 0, "the state of a solver: numbers out of range");
  mu_ = mu[0];
  weighed_ = evidence[0] != 0;
  gamma_ = evidence[1], alpha_ = evidence[2], beta_ = evidence[3];
}

}  // namespace bp
