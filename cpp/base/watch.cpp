#include "base/watch.h"

namespace bp {
namespace {

std::atomic<Interrupt> interrupt{nullptr};
constexpr std::chrono::duration<double> kInterval{0.05};  // to ask may mean to wait for a lock (Python's)

}  // namespace

void set_interrupt(Interrupt asks) { interrupt = asks; }

void Watch::look() {
  using Clock = std::chrono::steady_clock;
  operations_ = 0;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  const auto interval = std::chrono::duration_cast<Clock::duration>(kInterval * patience());
  const bool first = next_ == Clock::time_point{} && interval.count() > 0;
  if (const Interrupt ask = interrupt; ask != nullptr && !first) ask();
  next_ = Clock::now() + interval;
}

}  // namespace bp
