// Full-batch rules with a step for each weight: the Rprop family (Riedmiller & Braun 1993; Igel & Huesken 2000) and
// Quickprop (Fahlman 1988, as in FANN). g is the gradient of the mean loss with penalties.
//
//   Rprop, s = g(t-1) g(t):  s > 0: D = min(1.2 D, 50);  s < 0: D = max(D / 2, 1e-6);  sign(0) = 0
//     rprop-   w -= sign(g) D                            irprop-  the same, with g = 0 after s < 0
//     rprop+   s < 0: the last step is taken back, g = 0  irprop+  taken back only if the loss rose
//   Quickprop, S = -g + decay w, l the last step, m = mu / (1 + mu):
//     l >  0.001:  (S > 0: rate S) + (S > m S' : mu l, else l S / (S' - S)), S' the one before
//     l < -0.001:  (S < 0: rate S) + (S < m S' : mu l, else the same);  otherwise rate S
#pragma once

#include "solve/objective.h"

namespace bp {

class SignSteps final : public Solver {
 public:
  enum class Rule { kRpropMinus, kRpropPlus, kIrpropMinus, kIrpropPlus, kQuickprop };

  explicit SignSteps(const Problem& problem);

  Verdict iterate(const BatchSource<double>& source, const Poll& poll) override;
  Numbers report() const override { return {{"gradient_norm", gradient_norm_}, {"step_norm", step_norm_}}; }
  State state() const override;
  void set_state(const State& state) override;

 private:
  double rprop(std::int64_t i, bool rose);
  double quickprop(std::int64_t i, double w);

  Rule rule_;
  double rate_, mu_ = 0, decay_ = 0;
  Objective objective_;
  std::int64_t size_;
  Buffer<double> gradient_, before_, size_of_step_, step_;  // before_: g, or S, of the iteration before
  double last_loss_ = 0;
  bool begun_ = false;
  double gradient_norm_ = 0, step_norm_ = 0;
};

}  // namespace bp
