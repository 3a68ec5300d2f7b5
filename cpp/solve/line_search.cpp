#include "solve/line_search.h"

#include <algorithm>
#include <cmath>

namespace bp {

LineSearch::LineSearch(double value, double slope, double first)
    : start_(value), slope_(slope), step_(first), low_(0), high_(first + 4 * first), width_(kMost), before_(2 * kMost),
      best_{0, value, slope}, other_{0, value, slope} {}

// The trial step by cubic interpolation of value and slope at two points, or by the secant of the slopes; four cases.
void LineSearch::choose(double value, double slope) {
  const double a = best_.step, b = step_;
  const double sign = slope * (best_.slope / std::abs(best_.slope));
  const double theta = 3 * (best_.value - value) / (b - a) + best_.slope + slope;
  const double scale = std::max({std::abs(theta), std::abs(best_.slope), std::abs(slope)});
  const double square = (theta / scale) * (theta / scale) - (best_.slope / scale) * (slope / scale);
  double next = 0;
  if (value > best_.value) {  // a minimum lies between
    double gamma = scale * std::sqrt(std::max(square, 0.0));
    if (b < a) gamma = -gamma;
    const double r = (gamma - best_.slope + theta) / (gamma - best_.slope + gamma + slope);
    const double cubic = a + r * (b - a);
    const double quadratic = a + best_.slope / ((best_.value - value) / (b - a) + best_.slope) / 2 * (b - a);
    next = std::abs(cubic - a) < std::abs(quadratic - a) ? cubic : cubic + (quadratic - cubic) / 2;
    bracketed_ = true;
  } else if (sign < 0) {  // lower, and the slope has turned
    double gamma = scale * std::sqrt(std::max(square, 0.0));
    if (b > a) gamma = -gamma;
    const double r = (gamma - slope + theta) / (gamma - slope + gamma + best_.slope);
    const double cubic = b + r * (a - b), secant = b + slope / (slope - best_.slope) * (a - b);
    next = std::abs(cubic - b) > std::abs(secant - b) ? cubic : secant;
    bracketed_ = true;
  } else if (std::abs(slope) < std::abs(best_.slope)) {  // lower, same sign, flatter
    double gamma = scale * std::sqrt(std::max(square, 0.0));
    if (b > a) gamma = -gamma;
    const double r = (gamma - slope + theta) / (gamma + (best_.slope - slope) + gamma);
    const double cubic = r < 0 && gamma != 0 ? b + r * (a - b) : b > a ? high_ : low_;
    const double secant = b + slope / (slope - best_.slope) * (a - b);
    if (bracketed_) {
      next = std::abs(cubic - b) < std::abs(secant - b) ? cubic : secant;
      const double edge = b + 0.66 * (other_.step - b);
      next = b > a ? std::min(edge, next) : std::max(edge, next);
    } else {
      next = std::clamp(std::abs(cubic - b) > std::abs(secant - b) ? cubic : secant, low_, high_);
    }
  } else {  // lower, same sign, not flatter
    if (bracketed_) {
      const double t = 3 * (value - other_.value) / (other_.step - b) + other_.slope + slope;
      const double most = std::max({std::abs(t), std::abs(other_.slope), std::abs(slope)});
      double gamma = most * std::sqrt(std::max((t / most) * (t / most) - (other_.slope / most) * (slope / most), 0.0));
      if (b > other_.step) gamma = -gamma;
      const double r = (gamma - slope + t) / (gamma - slope + gamma + other_.slope);
      next = b + r * (other_.step - b);
    } else {
      next = b > a ? high_ : low_;
    }
  }
  if (value > best_.value) {
    other_ = {b, value, slope};
  } else {
    if (sign < 0) other_ = best_;
    best_ = {b, value, slope};
  }
  step_ = next;
}

LineSearch::State LineSearch::advance(double value, double slope) {
  ++evaluations_;
  if (!std::isfinite(value) || !std::isfinite(slope)) {  // beyond what can be computed: half way back
    if (evaluations_ >= kEvaluations) return State::kFailed;
    high_ = step_;
    step_ = best_.step + (step_ - best_.step) / 2;
    return State::kEvaluate;
  }
  const double bound = start_ + kFtol * step_ * slope_;
  if (first_stage_ && value <= bound && slope >= 0) first_stage_ = false;
  if (value <= bound && std::abs(slope) <= kGtol * -slope_) return State::kDone;
  const bool lost = bracketed_ && (step_ <= low_ || step_ >= high_);
  const bool narrow = bracketed_ && high_ - low_ <= kXtol * high_;
  if (lost || narrow || evaluations_ >= kEvaluations) {
    step_ = best_.step;
    return best_.value < start_ ? State::kDone : State::kFailed;
  }
  if (first_stage_ && value <= best_.value && value > bound) {  // of the function without the wanted decrease
    const double tilt = kFtol * slope_;
    best_.value -= best_.step * tilt, best_.slope -= tilt;
    other_.value -= other_.step * tilt, other_.slope -= tilt;
    choose(value - step_ * tilt, slope - tilt);
    best_.value += best_.step * tilt, best_.slope += tilt;
    other_.value += other_.step * tilt, other_.slope += tilt;
  } else {
    choose(value, slope);
  }
  if (bracketed_) {
    const double width = std::abs(other_.step - best_.step);
    if (width >= 0.66 * before_) step_ = best_.step + (other_.step - best_.step) / 2;
    before_ = width_;
    width_ = width;
    low_ = std::min(best_.step, other_.step);
    high_ = std::max(best_.step, other_.step);
  } else {
    low_ = step_ + 1.1 * (step_ - best_.step);
    high_ = step_ + 4 * (step_ - best_.step);
  }
  step_ = std::clamp(step_, 0.0, kMost);
  if (bracketed_ && (step_ <= low_ || step_ >= high_ || high_ - low_ <= kXtol * high_)) step_ = best_.step;
  return State::kEvaluate;
}

}  // namespace bp
