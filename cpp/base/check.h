// Errors of the core, and size arithmetic that cannot wrap.
#pragma once

#include <cstdint>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

namespace bp {

// What the caller gave does not fit; becomes ValueError in Python.
struct BadInput : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

inline void check(bool condition, const char* message) {
  if (!condition) throw BadInput(message);
}
inline void check(bool condition, const std::string& message) {
  if (!condition) throw BadInput(message);
}

// The system has no memory; becomes MemoryError. Its text needs none.
class OutOfMemory : public std::bad_alloc {
 public:
  OutOfMemory(std::int64_t bytes, const char* what) noexcept {
    const bool giga = bytes >= 1 << 30;
    const double size = static_cast<double>(bytes) / (giga ? 1 << 30 : 1 << 20);
    std::snprintf(text_, sizeof text_, "no memory for %lld bytes (%.3g %s): %s", static_cast<long long>(bytes), size,
                  giga ? "GiB" : "MiB", what);
  }
  const char* what() const noexcept override { return text_; }

 private:
  char text_[200];
};

// a * b for sizes; throws instead of wrapping.
inline std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) {
    throw BadInput("a size overflows: " + std::to_string(a) + " x " + std::to_string(b) + " elements");
  }
  return product;
}

}  // namespace bp
