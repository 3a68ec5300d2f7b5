// A step length that satisfies the strong Wolfe conditions (J. More, D. Thuente, 1994).
//
//   phi(a) = f(w + a d), phi'(0) < 0:  phi(a) <= phi(0) + ftol a phi'(0)  and  |phi'(a)| <= gtol |phi'(0)|
// The interval of uncertainty shrinks by cubic and secant steps; nothing is drawn, nothing depends on time.
#pragma once

#include <cstdint>

namespace bp {

class LineSearch {
 public:
  enum class State { kEvaluate, kDone, kFailed };

  LineSearch(double value, double slope, double first);
  double step() const { return step_; }
  // With phi and phi' at step(): whether to evaluate at a new step(), or that it is good, or the best that can be had.
  State advance(double value, double slope);

 private:
  struct Point {
    double step, value, slope;
  };
  void choose(double value, double slope);  // the next step, and the interval

  static constexpr double kFtol = 1e-3, kGtol = 0.9, kXtol = 0.1, kMost = 1e20;
  static constexpr int kEvaluations = 20;
  const double start_, slope_;
  double step_, low_, high_, width_, before_;
  Point best_, other_;
  bool bracketed_ = false, first_stage_ = true;
  int evaluations_ = 0;
};

}  // namespace bp
