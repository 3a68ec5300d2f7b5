// Constraints: what parameters are made to obey after each update.
//
//   norm      w *= (rate clip(|w|, low, high) + (1 - rate) |w|) / (|w| + 1e-7), |w| = sqrt(sum w^2) over `axes` (Keras 3)
//   non_neg   w = max(w, 0)
// A column, all values that share a norm, belongs to one thread, and its norm is one chain in double: bits do not depend on
// threads. Cost: the weights are read once, and written where a factor is not 1.
#pragma once

#include "base/threads.h"
#include "plan/graph.h"

namespace bp {

// A constraint written by the user; it changes the parameter in place.
struct ConstraintCallback {
  virtual ~ConstraintCallback() = default;
  virtual void run() = 0;
};

enum class Constraint { kNone, kNorm, kNonNegative, kCallback };

struct ConstraintConfig {
  Constraint kind = Constraint::kNone;
  double low = 0, high = 1, rate = 1;
  std::int64_t outer = 1, axes = 1, inner = 1;  // the parameter as (outer, axes, inner)
  std::shared_ptr<ConstraintCallback> callback;
};

// This thread's share of one parameter; a callback runs on rank 0.
template <class T> void constrain(const ConstraintConfig& config, const ParameterView<T>& param, const Team& team);

}  // namespace bp
