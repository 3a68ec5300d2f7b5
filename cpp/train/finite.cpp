#include "train/finite.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

template <class T> double number(T x) { return static_cast<double>(x); }

// Below half a unit in the last place of the largest number, with room for the rounding of what leads there.
template <class T>
constexpr double kMostAdded = kLargest<T> / 8 * static_cast<double>(std::numeric_limits<T>::epsilon());

// v = mu v + u, |u| <= most_u, from any v: it grows up to most_u / (1 - mu), or shrinks from where it was.
template <class T> double velocity(T mu, double before, double most_u) {
  const double rest = 1 - number(mu);
  if (!(rest >= 8 * number(std::numeric_limits<T>::epsilon()))) return kLargest<T>;  // rounding may outweigh it
  return std::max(before, 2 * most_u / rest);
}

// u = g / (sqrt(s) + epsilon), s finite and at least a share of g^2, where it does not underflow.
template <class T> double unit(const Hyper<T>& h, double g) { return g / number(h.epsilon); }

}  // namespace

// Squares: s + g^2, or a mean of s and g^2, are finite for any finite s, as g^2 is below kMostAdded.
template <class T> bool surely_finite(const OptimizerConfig& config, const Hyper<T>& h, double g, SlotBounds* slots) {
  double* const most = slots->most;
  const double rate = number(h.learning_rate), decay = std::abs(number(h.decoupled_decay));
  double step = kLargest<T>;
  switch (config.kind) {
    case Optimizer::kSgd: step = rate * g; break;
    case Optimizer::kMomentum:
    case Optimizer::kNesterov:
      most[0] = velocity(h.momentum, most[0], g);
      step = rate * (g + most[0]);
      break;
    case Optimizer::kAdagrad: step = rate * unit(h, g); break;
    case Optimizer::kRmsprop: {
      const bool momentum = h.extra[0] != T(0), centered = h.extra[1] != T(0);
      if (momentum) most[1] = velocity(h.momentum, most[1], unit(h, g));
      step = rate * (momentum ? most[1] : unit(h, g));
      if (double& mean = most[momentum ? 2 : 1]; centered) mean = std::max(mean, g);
      break;
    }
    case Optimizer::kAdadelta: {
      // u^2 (1 - rho) <= d + epsilon, or g^2 (d + epsilon) / epsilon where s underflows: d may grow by as much each
      // step.
      const double rest = number(h.one_minus_beta_2), epsilon = number(h.epsilon);
      const double below = std::sqrt(number(std::numeric_limits<T>::min()) / rest);  // g whose s underflows
      const double most_u2 = (most[1] + epsilon) * std::max(1.01 / rest, below * below / epsilon);
      most[1] += rest * most_u2;
      step = rate * std::sqrt(most_u2);
      if (!(most[1] <= kMostAdded<T>)) return false;
      break;
    }
    case Optimizer::kAdam:
    case Optimizer::kAmsgrad:
    case Optimizer::kAdamax:
      most[0] = std::max(most[0], g);  // a mean of m and g
      step = number(h.step_size) * unit(h, most[0]);
      break;
    case Optimizer::kNadam:
      most[0] = std::max(most[0], g);
      step = unit(h, std::abs(number(h.extra[0])) * g + std::abs(number(h.extra[1])) * most[0]);
      break;
    case Optimizer::kLion: step = rate; break;
    case Optimizer::kRprop: step = most[1] = std::max(most[1], number(h.extra[3])); break;
    case Optimizer::kCount: break;
  }
  slots->step = step;
  return g * g <= kMostAdded<T> && step <= kMostAdded<T> && decay <= 1;  // false if one of them is NaN
}

template bool surely_finite(const OptimizerConfig&, const Hyper<float>&, double, SlotBounds*);
template bool surely_finite(const OptimizerConfig&, const Hyper<double>&, double, SlotBounds*);

}  // namespace bp
