// How a product is carried out: which operand is packed or transposed, block sizes, scratch. Every choice gives the
// same bits.
//
//   direct    B is read where it lies (rows of n), A too: small and medium products, x W and x^T delta.
//   packed    B is copied (or transposed) into panels block by block: many rows use each panel.
//   swapped   C^T = B^T A^T: for delta W^T with few rows delta and the result are transposed instead of the larger W; for
//             x^T delta with few columns the rows of C fill the vectors better.
#pragma once

#include "kernels/gemm_tile.h"
#include "kernels/table.h"

namespace bp::BP_TIER {

enum class Path { kDirect, kPacked, kSwapped };

// Steps of k in a block: a panel of 2 vectors (128 KB) and a tile's rows of A (56 KB) stream from L2 to L1 at 13
// bytes a cycle, and C makes few trips. Measured on 2048^3, one thread: 256: 169, 512: 184, 1024: 212 GFLOP/s.
constexpr std::int64_t kBlockDepth = 1024;
// Bytes of packed B in a block (L3; streams at 64 bytes per 78 / 2 cycles; a quarter of B, so that the memory for it stays
// small beside B, but for small ones) and of packed A beside it (a quarter of L2).
constexpr std::int64_t kBlockBBytes = 1536 * 1024, kLeastBBytes = 512 * 1024;
constexpr std::int64_t kBlockABytes = 256 * 1024;
constexpr std::int64_t kL1Bytes = 32 * 1024;       // what a tile sweep may count on
constexpr std::int64_t kFarBytes = 1024 * 1024;   // no longer in L2
constexpr std::int64_t kAliasBytes = 4096;         // 64 sets x 64 bytes: rows this far apart share one set of L1
constexpr std::int64_t kAliasRows = 8;             // of its 8 to 12 ways
constexpr std::int64_t kSwapRows = 96;             // rows of C^T transposed back at a time, while they are in L1

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t at_most(std::int64_t a, std::int64_t limit) { return a < limit ? a : limit; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t step) { return ceil_div(a, step) * step; }

// count = parts of nearly equal size, none above `limit`: the first `larger` parts have size + 1.
struct Split {
  std::int64_t parts, size, larger;
  BP_INLINE Split(std::int64_t count, std::int64_t limit) {
    parts = count <= limit ? 1 : ceil_div(count, limit);
    size = parts == 1 ? count : count / parts;
    larger = count - parts * size;
  }
  BP_INLINE std::int64_t of(std::int64_t part) const { return size + (part < larger ? 1 : 0); }
};

struct Plan {
  Path path;
  bool pack_a, totals;
  std::int64_t depth, width, height;                // block sizes along k, n, m
  std::int64_t a_at, totals_at, scratch;            // offsets into the scratch (packed B at 0) and its size, in elements
};

BP_INLINE std::int64_t widest_tile(std::int64_t m) {
  if (m >= 4) return 2;
  if (m == 1) return kMaxTileVecs;
  return m == 3 && !kManyRegisters ? 3 : 4;
}

template <class T> BP_INLINE bool aliases(std::int64_t stride) {
  return stride * static_cast<std::int64_t>(sizeof(T)) % kAliasBytes == 0;
}

// Is C^T = B^T A^T cheaper? In quarter cycles: 2 for each FMA of a vector, 1 for each element that is transposed.
template <class T> BP_INLINE bool swap_pays(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  if (!p.b_transposed && (!p.a_transposed || p.n % kWidth == 0)) return false;
  const std::int64_t plain = 2 * p.m * p.k * ceil_div(p.n, kWidth) + (p.b_transposed ? p.n * p.k : 0);
  const std::int64_t turned = p.m * p.n + (p.a_transposed ? 0 : p.m * p.k);
  return 2 * p.n * p.k * ceil_div(p.m, kWidth) + turned < plain;
}

// Is B worth a copy? When it is too large for L2 and its rows are far apart, or when its lines collide in L1, and
// each panel then serves several tiles.
template <class T> BP_INLINE bool packing_pays(const Matmul<T>& p) {
  const std::int64_t bytes = p.k * p.n * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t tiles = ceil_div(p.m, max_tile_rows(2));
  if (tiles < 2 || p.n <= 2 * Vec<T>::kWidth) return false;
  if (tiles < 4) return bytes > kFarBytes;
  return bytes > kBlockABytes || (aliases<T>(2 * p.ldb) && bytes > kL1Bytes);
}

// Columns of B in a block, of nearly equal blocks; k and depth in elements of `bytes`, the width in whole steps.
BP_INLINE std::int64_t block_width(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t depth, std::int64_t bytes,
                                   std::int64_t step) {
  const std::int64_t a_bytes = m * depth * bytes;  // read, and perhaps packed, once for each block
  const std::int64_t most = at_most(k * n * bytes / 4, a_bytes / 2 > kBlockBBytes ? a_bytes / 2 : kBlockBBytes);
  const std::int64_t fits = (most < kLeastBBytes ? kLeastBBytes : most) / (depth * bytes) / step * step;
  return round_up(ceil_div(n, ceil_div(n, fits < step ? step : fits)), step);
}

template <class T> BP_INLINE Plan make_plan(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth, kBytes = sizeof(T);
  Plan plan{};
  plan.depth = p.k;
  const bool many_chunks = p.chunk > 0 && p.chunk < p.k;
  const bool swap = swap_pays(p);
  if (swap || (!p.b_transposed && !packing_pays(p))) {
    plan.totals = p.add && many_chunks;
    if (swap) {
      plan.path = Path::kSwapped;
      plan.a_at = round_up(p.m, kWidth) * p.k;       // delta^T; then the block of C^T
      plan.totals_at = plan.a_at + round_up(p.m, kWidth) * kSwapRows;
    } else {
      plan.path = Path::kDirect;
      plan.totals_at = kMaskedLoads || p.n % kWidth == 0 ? 0 : kWidth * p.k;  // the edge of B
    }
  } else {
    plan.path = Path::kPacked;
    // What is added to has no room for a chain between blocks: then one block, whose panels stream from L2.
    const Split depths(p.k, p.add && p.chunk == 0 ? p.k : kBlockDepth);
    plan.depth = depths.size + (depths.larger != 0 ? 1 : 0);
    if (p.chunk > 0) plan.depth = round_up(plan.depth, p.chunk);
    plan.depth = plan.depth > p.k ? p.k : plan.depth;
    if (plan.depth == 0) plan.depth = 1;  // k = 0: one empty block
    plan.totals = p.add && (many_chunks || plan.depth < p.k);
    const std::int64_t step = 2 * kWidth, depth_bytes = plan.depth * kBytes;
    plan.width = block_width(p.m, p.k, p.n, plan.depth, kBytes, step);
    plan.height = at_most(p.m, kBlockABytes / depth_bytes + max_tile_rows(2));
    plan.pack_a = p.n > 4 * step && aliases<T>(p.lda);
    plan.a_at = plan.depth * plan.width;
    plan.totals_at = plan.a_at + (plan.pack_a ? plan.depth * plan.height + kWidth : 0);
  }
  plan.totals_at = round_up(plan.totals_at, kWidth);
  plan.scratch = plan.totals_at + (plan.totals ? p.m * p.n : 0);
  return plan;
}

}  // namespace bp::BP_TIER
