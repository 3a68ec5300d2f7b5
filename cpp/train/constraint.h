// Constraints: what parameters are made to obey after each update.
//
//   norm      w *= (rate clip(|w|, low, high) + (1 - rate) |w|) / (|w| + 1e-7), |w| = sqrt(sum w^2) over `axes`
//   non_neg   w = max(w, 0)
// These are Keras 3's formulas.
//
// A column, all values that share a norm, belongs to one thread, and its norm is one chain in double: bits do not
// depend on threads. Cost: the weights are read once, and written where a factor is not 1.
#pragma once

#include "base/threads.h"
#include "plan/graph.h"

namespace bp {

// A constraint written by the user; it changes a parameter's values in place, or a copy of them.
template <class T> struct UserConstraint {
  virtual ~UserConstraint() = default;
  virtual void run(T* w) = 0;
};

enum class Constraint { kNone, kNorm, kNonNegative, kUser };

template <class T> struct ConstraintConfig {
  Constraint kind = Constraint::kNone;
  double low = 0, high = 1, rate = 1;
  std::int64_t outer = 1, axes = 1, inner = 1;  // the parameter as (outer, axes, inner)
  std::shared_ptr<UserConstraint<T>> user;
};

template <class T> class Constraints {
 public:
  // configs: by parameter, or empty. Frozen parameters are left alone.
  Constraints(const Graph<T>& graph, const std::vector<ConstraintConfig<T>>& configs);

  bool any() const { return any_; }
  // For every member of the team, after its updates; waits for the others' if there is something to do, since a column
  // spreads over tiles. Functions of the user run on rank 0. w: by parameter.
  void apply(Team& team, const std::vector<T*>& w) const;

 private:
  const Graph<T>& graph_;
  const std::vector<ConstraintConfig<T>>& configs_;
  bool any_ = false;
};

}  // namespace bp
