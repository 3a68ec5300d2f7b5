// What matrix products know of the processor: the data caches of a core, and the sizes that are shares of them.
//
// Included by tier code, so only plain structs and declarations. Whatever the sizes, products have the same bits.
#pragma once

#include <cstdint>

namespace bp {

struct Caches {  // bytes of data, for one core
  std::int64_t l1, l2;
};

// Steps of k of a block, at most: this long because C makes a trip for each block (2048^3: 256 steps 169, 512: 184,
// 1024: 212 GFLOP/s).
constexpr std::int64_t kLongBytes = 4096;

// In bytes. The shares were measured with 48 KB of L1 and 1 MB of L2; caches.cpp has them.
struct CacheShares {
  std::int64_t sweep;       // of L1: what a sweep of tiles may count on
  std::int64_t direct;      // of L2: B up to this is read where it lies
  std::int64_t far;         // more than this is no longer in L2
  std::int64_t block_a;     // of L2: a block of A, beside the panels of B that pass
  std::int64_t few_rows;    // of L2: A's only block, where B comes from far
  std::int64_t remote;      // B larger than this comes from far
  std::int64_t short_step;  // of L2: a row of such a block of A; at most kLongBytes
  std::int64_t turned;      // of L2: delta^T, for each part of which W passes once
};
__attribute__((visibility("hidden"))) extern CacheShares cache_shares;  // of the caches in use

Caches caches_in_use();
// 0: what the processor says, or, if it does not, what the shares were measured with. Before anything else runs, or by
// tests between two products.
void use_caches(Caches wanted);

}  // namespace bp
