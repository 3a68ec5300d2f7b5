// L-BFGS (Liu & Nocedal 1989): the direction from the last pairs s = dw, y = dg by two loops, a strong Wolfe step along
// it.
//
//   d = -H g, H from the pairs, H_0 = s.y / y.y of the last one; without pairs d = -g, first step min(1, 1 / |g|)
//   A pair with s.y <= eps y.y is left out. A line without decrease is tried once more along -g, then it is the end.
#pragma once

#include "solve/objective.h"

namespace bp {

class Lbfgs final : public Solver {
 public:
  explicit Lbfgs(const Problem& problem);

  Verdict iterate(const BatchSource<double>& source, const Poll& poll) override;
  Numbers report() const override;
  State state() const override;
  void set_state(const State& state) override;

 private:
  void find_direction();
  bool search(const double* w, double value, const BatchSource<double>& source, const Poll& poll);
  void remember(const double* w);
  double* pair(Buffer<double>& of, std::int64_t age) { return of.data() + age * size_; }

  Objective objective_;
  std::int64_t size_, memory_, count_ = 0;  // pairs there are, the oldest first
  double tol_;
  Buffer<double> s_, y_, gradient_, next_gradient_, direction_, next_, known_;
  double next_value_ = 0, known_value_ = 0;
  bool has_known_ = false;  // known_: weights at which known_value_ and gradient_ were computed in this call of fit
  double gradient_norm_ = 0, step_norm_ = 0, evaluations_ = 0;
};

}  // namespace bp
