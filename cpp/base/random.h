// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11). A number is a pure function of
// (seed, stream, counter), so neither threads nor an interrupted run can change it.
#pragma once

#include <cstdint>

namespace bp {

struct Philox {
  std::uint64_t seed, stream;

  // 128 bits for one counter value.
  void block(std::uint64_t counter, std::uint32_t out[4]) const;
  // Bits 2i and 2i+1 of the stream seen as 64-bit words.
  std::uint64_t word(std::uint64_t i) const;
  // Uniform in [0, 1), 53 bits.
  double uniform(std::uint64_t i) const { return static_cast<double>(word(i) >> 11) * 0x1p-53; }
};

}  // namespace bp
