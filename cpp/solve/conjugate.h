// Scaled conjugate gradient (M. Moller 1993): no line search; the length of a step from the curvature along it.
//
//   s = (g(w + sigma p) - g(w)) / sigma, sigma = 5e-5 / |p|;  delta = p.s + (lambda - lambda_bar) |p|^2, made positive
//   alpha = mu / delta, mu = p.r, r = -g;  Delta = 2 delta (E(w) - E(w + alpha p)) / mu^2, how well the parabola fits
//   Delta >= 0: the step is taken, p = r' + beta p, beta = (|r'|^2 - r'.r) / mu (each P steps p = r'); >= 3/4: lambda
//   /= 4 Delta < 1/4: lambda += delta (1 - Delta) / |p|^2
#pragma once

#include "solve/objective.h"

namespace bp {

class ScaledConjugate final : public Solver {
 public:
  explicit ScaledConjugate(const Problem& problem);

  Verdict iterate(const BatchSource<double>& source, const Poll& poll) override;
  Numbers report() const override;
  State state() const override;
  void set_state(const State& state) override;

 private:
  double curvature(const double* w, double square, const BatchSource<double>& source, const Poll& poll);

  Objective objective_;
  std::int64_t size_;
  double tol_, lambda_ = 5e-7, raised_ = 0, delta_ = 0;
  bool begun_ = false, success_ = true;
  std::int64_t taken_ = 0;  // since p = r
  Buffer<double> p_, gradient_, next_gradient_, next_;
  double gradient_norm_ = 0, step_norm_ = 0;
};

}  // namespace bp
