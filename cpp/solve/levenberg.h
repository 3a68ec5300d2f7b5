// Levenberg-Marquardt (Hagan & Menhaj 1994; the rules of MATLAB's trainlm), and with Bayesian regularisation (MacKay
// 1992; Foresee & Hagan 1997).
//
//   F(w) = sum of e^2 over samples and outputs, Q = J^T J, g = J^T e
//   (Q + mu I) d = -g, or (Q + mu diag Q) d = -g;  F(w + d) < F(w): taken, mu *= mu_dec; else mu *= mu_inc and again,
//   until mu > mu_max. A matrix that is not positive definite is no decrease.
// Of another loss F is its sum over the samples and Q Gauss-Newton's matrix of it; l2 penalties join both. The gradient
// that is compared with min_grad is that of the mean loss.
//   Bayesian: beta F + alpha |w|^2 in place of F, so beta Q + alpha I and beta g + alpha w. Before each iteration
//   gamma = P - alpha trace (beta Q + alpha I)^-1, the effective number of parameters,
//   alpha = gamma / (2 |w|^2), beta = (n - gamma) / (2 F), n errors; at first gamma = P.
#pragma once

#include "kernels/cholesky.h"
#include "solve/normal.h"
#include "solve/solver.h"

namespace bp {

class Levenberg final : public Solver {
 public:
  explicit Levenberg(const Problem& problem);

  Verdict iterate(const BatchSource<double>& source, const Poll& poll) override;
  void forget() override { known_ = false; }
  const Outputs<double>* outputs() const override { return known_ && whole_ ? &sweep_.losses() : nullptr; }
  Numbers report() const override;
  State state() const override;
  void set_state(const State& state) override;

 private:
  struct Weights {  // of the objective: errors * F + prior * |w|^2 + unit * penalties
    double unit, errors, prior;
  };
  double objective(double loss, const double* w, const Weights& by) const;
  double penalty(const double* w) const;
  void weigh_evidence(double squares, double weights, double errors, const Poll& poll);
  void gather(const double* w, const Weights& by);  // matrix_ and, of w, gradient_ of the objective, halved
  bool find_step(const Poll& poll);                 // false: not positive definite

  double mu_, mu_dec_, mu_inc_, mu_max_, min_grad_, goal_;
  bool marquardt_, bayesian_, all_squares_ = true, halves_ = false;
  Sweep<double> sweep_;
  NormalEquations normal_;
  Cholesky<double> cholesky_;
  std::int64_t size_, outputs_ = 0;
  Buffer<double> decay_;  // by element of w: its penalty is decay w^2
  Buffer<double> matrix_, gradient_, damped_, step_;
  double errors_unit_ = 1;  // of mean losses in F
  double gamma_, alpha_ = 0, beta_ = 1;
  bool known_ = false, whole_ = false;  // the last pass was a loss at the weights as they are; of all rows at once
  bool weighed_ = false;                // alpha_ and beta_ are of an iteration before
  double gradient_norm_ = 0, step_norm_ = 0, tries_ = 0;
};

}  // namespace bp
