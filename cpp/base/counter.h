// A count that outlives whoever raises it, and that other threads may look at meanwhile; on a cache line of its own, as
// it is written at every batch.
#pragma once

#include <atomic>
#include <cstdint>

namespace bp {

struct alignas(64) Counter {
  std::atomic<std::int64_t> value{0};
  std::int64_t get() const { return value.load(std::memory_order_relaxed); }
  void set(std::int64_t count) { value.store(count, std::memory_order_relaxed); }
  void add(std::int64_t more) { value.fetch_add(more, std::memory_order_relaxed); }
};

}  // namespace bp
