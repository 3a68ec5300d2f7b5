#include "ops/rounding.h"

#include <atomic>

#include "ops/product.h"

namespace bp {
namespace {

struct Least {
  std::int64_t weights, in, out;
};

// By Compute: the smallest weights whose operands are rounded. To convert 32 weights takes 3 to 6 cycles for each
// product that reads them, and M rows take M cycles in float32, M / 2 with AVX512_BF16, M / 16 with AMX.
//   kPairs  where threads take columns of a product, each converts its own alone; smaller weights every thread converts
//           for its part of the rows. Measured on AMD Zen 5, two threads: 784x128 at batch 32 0.86 times the speed of
//           float32 and at batch 128 1.08, 784x512 and 512x512 at batch 128 1.35.
//   kTiles  by the figures above rounding pays from some 8 rows a thread on, so smaller weights, too; but below 2^15 of
//           them (784x30 at batch 10) a product takes a few microseconds, much of it what a call costs whatever it
//           does.
constexpr Least kLeast[static_cast<int>(Compute::kCount)] = {
    {0, 0, 0}, {kColumnWeights, 32, kColumnWidth}, {1 << 15, 32, 32}};

std::atomic<bool> all_are_rounded{false};

}  // namespace

Compute where_it_pays(Compute allowed, std::int64_t in, std::int64_t out) {
  const Least& least = kLeast[static_cast<int>(allowed)];
  const bool pays = in * out >= least.weights && in >= least.in && out >= least.out;
  return pays || all_are_rounded.load(std::memory_order_relaxed) ? allowed : Compute::kFull;
}

void round_all_products(bool all) { all_are_rounded.store(all, std::memory_order_relaxed); }

}  // namespace bp
