// Looking for signals now and then in long calls that hold no GIL.
#pragma once

#include <chrono>

#include "bind/gil.h"
#include "solve/sweep.h"

namespace bp {

// An exception in a handler, such as KeyboardInterrupt, ends the work.
inline Poll signal_poll() {
  using Clock = std::chrono::steady_clock;
  constexpr auto kEvery = std::chrono::milliseconds(50);
  return [next = Clock::now() + kEvery, kEvery]() mutable {
    if (Clock::now() < next) return;
    GilAcquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    next = Clock::now() + kEvery;
  };
}

}  // namespace bp
