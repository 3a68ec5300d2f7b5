// Long work can be interrupted (Ctrl-C): it is cut into pieces, between which it looks whether it is still wanted.
#pragma once

#include <atomic>
#include <chrono>

namespace bp {

// What long work asks, on the thread of its caller: it throws what the caller is to get if the work is no longer
// wanted. Told once, by whoever knows of signals; without it all work is done to its end.
using Interrupt = void (*)();
void set_interrupt(Interrupt interrupt);

// What is scaled by this: from how many operations on work is long, how many a piece has, and the time between two
// looks. 1 but in tests, which cut small work by a small number. Bits do not depend on it.
inline std::atomic<double> patience_scale{1};
inline double patience() { return patience_scale.load(std::memory_order_relaxed); }

class Watch {  // over one piece of work
 public:
  // After a part that took about this number of operations. A part should take at most some hundredths of a second.
  void after(double operations) {
    if ((operations_ += operations) >= limit_) look();
  }

 private:
  static constexpr double kOperations = 2e7;  // take 0.1 to 10 ms: a look at the clock, 25 ns, is nothing beside them
  void look();

  double operations_ = 0, limit_ = kOperations * patience();
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace bp
