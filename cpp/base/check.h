// Errors of the core, and size arithmetic that cannot wrap.
#pragma once

#include <cstdint>
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

// a * b for sizes; throws instead of wrapping.
inline std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) {
    throw BadInput("a size overflows: " + std::to_string(a) + " x " + std::to_string(b) + " elements");
  }
  return product;
}

}  // namespace bp
