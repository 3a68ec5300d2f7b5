// Whether an update surely leaves finite numbers behind: from bounds of its gradients and of the optimizer's slots
// alone, so that nothing has to be tried. Where the answer is no, the update may be fine all the same.
//
// A finite number stays finite if less than half a unit in the last place of the largest number is added to it. So what
// has to be bounded is how far a step may go, not where the weights are.
#pragma once

#include <limits>

#include "train/optimizer.h"

namespace bp {

// Beyond any gradient of a training that goes well, with room up to the squares that optimizers take.
template <class T> constexpr double kCalm = sizeof(T) == 4 ? 0x1p48 : 0x1p400;
template <class T> constexpr double kLargest = static_cast<double>(std::numeric_limits<T>::max());

struct SlotBounds {
  double most[kMaxSlots] = {};  // greatest magnitude, over all parameters
  double step = 0;              // how far the last update moved a weight, at most
};

// Of parameters with these constants, gradients (after decay) up to g and slots within the bounds, which it moves on to
// after the update.
template <class T>
bool surely_finite(const OptimizerConfig& config, const Hyper<T>& hyper, double g, SlotBounds* slots);

}  // namespace bp
