// The mean loss with penalties and its gradient as functions of the weight vector, for solvers that walk along lines.
#pragma once

#include "solve/solver.h"

namespace bp {

class Objective {
 public:
  explicit Objective(const Problem& problem);

  std::int64_t size() const { return sweep_.size(); }
  Sweep<double>& sweep() { return sweep_; }
  std::int64_t evaluations() const { return evaluations_; }

  // Writes w to the parameters. Not finite where the loss or the gradient is.
  double at(const double* w, double* gradient, const BatchSource<double>& source, const Poll& poll);

 private:
  double add_penalties(const double* w, double* gradient) const;

  Sweep<double> sweep_;
  std::int64_t evaluations_ = 0;
};

}  // namespace bp
