#include "solve/conjugate.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

constexpr double kSigma = 5e-5, kMostLambda = 1e100;

double dot(const double* x, const double* y, std::int64_t n) { return kernels<double>().dot(x, y, n); }

}  // namespace

ScaledConjugate::ScaledConjugate(const Problem& problem)
    : objective_(problem), size_(objective_.size()), tol_(problem.option("tol")), p_(size_), gradient_(size_),
      next_gradient_(size_), next_(size_) {}

// p.s at w, by a difference of gradients.
double ScaledConjugate::curvature(const double* w, double square, const BatchSource<double>& source, const Poll& poll) {
  const double sigma = kSigma / std::sqrt(square);
  std::copy_n(w, size_, next_.data());
  kernels<double>().axpy(sigma, p_.data(), next_.data(), size_);
  objective_.at(next_.data(), next_gradient_.data(), source, poll);
  return (dot(p_.data(), next_gradient_.data(), size_) - dot(p_.data(), gradient_.data(), size_)) / sigma;
}

Verdict ScaledConjugate::iterate(const BatchSource<double>& source, const Poll& poll) {
  Trial trial(objective_.sweep());
  const double* const w = trial.before();
  const double value = objective_.at(w, gradient_.data(), source, poll);
  if (!std::isfinite(value)) return Verdict::kNotFinite;
  step_norm_ = 0;
  gradient_norm_ = std::sqrt(dot(gradient_.data(), gradient_.data(), size_));
  if (kernels<double>().max_abs(gradient_.data(), size_) <= tol_) return Verdict::kFlat;
  double mu = -dot(p_.data(), gradient_.data(), size_);
  if (!begun_ || !(mu > 0)) {  // also where the weights were changed between two iterations
    for (std::int64_t i = 0; i < size_; ++i) p_[i] = -gradient_[i];
    mu = dot(p_.data(), p_.data(), size_);
    begun_ = success_ = true;
    taken_ = 0;
  }
  const double square = dot(p_.data(), p_.data(), size_);
  double delta = success_ ? curvature(w, square, source, poll) : delta_;
  if (!std::isfinite(delta)) delta = 0;
  delta += (lambda_ - raised_) * square;
  if (delta <= 0) {
    raised_ = 2 * (lambda_ - delta / square);
    delta = -delta + lambda_ * square;
    lambda_ = raised_;
  }
  const double alpha = mu / delta;
  std::copy_n(w, size_, next_.data());
  kernels<double>().axpy(alpha, p_.data(), next_.data(), size_);
  const double after = objective_.at(next_.data(), next_gradient_.data(), source, poll);
  const double fit = std::isfinite(after) ? 2 * delta * (value - after) / (mu * mu) : -1;
  success_ = fit >= 0 && after <= value;
  delta_ = delta;
  if (success_) {
    trial.keep();
    step_norm_ = alpha * std::sqrt(square);
    raised_ = 0;
    const double* const g = next_gradient_.data();
    const double beta = (dot(g, g, size_) - dot(g, gradient_.data(), size_)) / mu;
    taken_ = (taken_ + 1) % std::max<std::int64_t>(size_, 1);
    for (std::int64_t i = 0; i < size_; ++i) p_[i] = taken_ == 0 ? -g[i] : beta * p_[i] - g[i];
    if (fit >= 0.75) lambda_ /= 4;
    lambda_ = std::max(lambda_, 1e-20);
  } else {
    raised_ = lambda_;
  }
  if (fit < 0.25) lambda_ += delta * (1 - fit) / square;
  return lambda_ > kMostLambda || !std::isfinite(lambda_) ? Verdict::kStuck : Verdict::kGoesOn;
}

Solver::Numbers ScaledConjugate::report() const {
  return {{"gradient_norm", gradient_norm_}, {"step_norm", step_norm_}, {"lambda", lambda_}};
}

Solver::State ScaledConjugate::state() const {
  return {
      {"direction", std::vector<double>(p_.data(), p_.data() + size_)},
      {"scales", {lambda_, raised_, delta_, begun_ ? 1.0 : 0.0, success_ ? 1.0 : 0.0, static_cast<double>(taken_)}}};
}

void ScaledConjugate::set_state(const State& state) {
  const std::vector<double> p = numbers_of(state, "direction", size_), scales = numbers_of(state, "scales", 6);
  check(scales[0] > 0 && scales[1] >= 0 && scales[5] >= 0, "the state of a solver: scales out of range");
  std::copy(p.begin(), p.end(), p_.data());
  lambda_ = scales[0], raised_ = scales[1], delta_ = scales[2];
  begun_ = scales[3] != 0, success_ = scales[4] != 0;
  taken_ = static_cast<std::int64_t>(scales[5]);
}

}  // namespace bp
