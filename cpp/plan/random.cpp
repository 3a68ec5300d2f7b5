#include "plan/random.h"

#include <algorithm>
#include <utility>

#include "kernels/table.h"

namespace bp {
namespace {

constexpr std::int64_t kBlocks = 16, kWords = 32, kNumbers = 64;  // of a group: see kernels/random.isa.cpp

}  // namespace

void RandomStream::block(std::uint64_t counter, std::uint32_t out[4]) const {
  std::uint32_t bits[kNumbers];
  kernels<float>().random_bits(seed, stream, counter / kBlocks, kNumbers, bits);
  for (std::int64_t k = 0; k < 4; ++k) out[k] = bits[k * kBlocks + static_cast<std::int64_t>(counter % kBlocks)];
}

void RandomStream::words(std::uint64_t group, std::uint64_t out[32]) const {
  std::uint32_t bits[kNumbers];
  kernels<float>().random_bits(seed, stream, group, kNumbers, bits);
  for (std::int64_t i = 0; i < kWords; ++i) {
    const std::int64_t low = i / 2 + i % 2 * 2 * kBlocks;
    out[i] = std::uint64_t{bits[low + kBlocks]} << 32 | bits[low];
  }
}

void uniform(const RandomStream& random, std::int64_t first, std::int64_t n, double* out) {
  std::uint64_t words[kWords];
  for (std::int64_t i = first; i < first + n; ++i) {
    if (i == first || i % kWords == 0) random.words(static_cast<std::uint64_t>(i / kWords), words);
    *out++ = static_cast<double>(words[i % kWords] >> 11) * 0x1p-53;
  }
}

void permutation(const RandomStream& random, std::int64_t n, std::int64_t* order) {
  for (std::int64_t i = 0; i < n; ++i) order[i] = i;
  std::uint64_t words[kWords];
  for (std::int64_t i = n - 1; i > 0; --i) {
    if (i == n - 1 || i % kWords == kWords - 1) random.words(static_cast<std::uint64_t>(i / kWords), words);
    // Multiply-high maps 64 random bits onto 0..i; its bias is below n / 2^64.
    const auto wide = static_cast<unsigned __int128>(words[i % kWords]) * static_cast<unsigned __int128>(i + 1);
    std::swap(order[i], order[static_cast<std::int64_t>(wide >> 64)]);
  }
}

}  // namespace bp
