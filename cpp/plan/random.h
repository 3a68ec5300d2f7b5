// What the library draws from Philox (kernels/random.isa.cpp): 64-bit words and orders. A number is a pure function of
// (seed, stream, its place), so neither threads nor an interrupted run can change it.
#pragma once

#include <cstdint>

namespace bp {

struct RandomStream {
  std::uint64_t seed, stream;

  // The generator's block of 128 bits for one counter.
  void block(std::uint64_t counter, std::uint32_t out[4]) const;
  // Words 32 group .. 32 group + 31 of the stream; word i is half i % 2 of block i / 2.
  void words(std::uint64_t group, std::uint64_t out[32]) const;
};

// n uniform numbers in [0, 1) of 53 bits: words first .. first + n - 1.
void uniform(const RandomStream& random, std::int64_t first, std::int64_t n, double* out);

// A uniform permutation of 0..n-1 (Fisher-Yates): place i takes one of 0..i by word i.
void permutation(const RandomStream& random, std::int64_t n, std::int64_t* order);

}  // namespace bp
