// How a product is carried out: which operand is packed or transposed, block sizes, scratch. Every choice gives the
// same bits.
//
//   direct    B is read where it lies (rows of n), A too: small and medium products, x W and x^T delta.
//   packed    B is copied (or transposed) into panels, which are near when they are used and serve several tiles.
//   swapped   C^T = B^T A^T: for delta W^T with few rows delta and the result are transposed instead of the larger W;
//             for x^T delta with few columns the rows of C fill the vectors better.
#pragma once

#include "kernels/caches.h"
#include "kernels/gemm_tile.h"
#include "kernels/table.h"

namespace bp::BP_TIER {

enum class Path { kDirect, kPacked, kSwapped };

// Sizes that are shares of a cache are in kernels/caches.h. The others: a group's bytes (L3; a panel of it streams at
// 64 bytes per 110 / 2 cycles, A's block having that number of rows; a quarter of B, so that the memory for it stays
// small beside B, but for small ones).
constexpr std::int64_t kBlockBBytes = 1536 * 1024, kLeastBBytes = 512 * 1024;
constexpr std::int64_t kAliasBytes = 4096;  // 64 sets x 64 bytes: rows this far apart share one set of L1
constexpr std::int64_t kAliasRows = 8;      // of its 8 to 12 ways
constexpr std::int64_t kSwapRows = 96;      // rows of C^T transposed back at a time, while they are in L1

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t at_most(std::int64_t a, std::int64_t limit) { return a < limit ? a : limit; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t step) { return ceil_div(a, step) * step; }
template <class T> BP_INLINE std::int64_t vectors(std::int64_t n) { return ceil_div(n, Vec<T>::kWidth); }

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

BP_INLINE std::int64_t widest_tile(std::int64_t m) {
  if (m >= 4) return 2;
  if (m == 1) return kMaxTileVecs;
  return m == 3 && !kManyRegisters ? 3 : 4;
}

template <class T> BP_INLINE bool aliases(std::int64_t stride) {
  return stride * static_cast<std::int64_t>(sizeof(T)) % kAliasBytes == 0;
}

// Rows of C that are turned at once: delta^T of these stays near while B passes.
template <class T> BP_INLINE std::int64_t turned_rows(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth, kLeast = 4 * kWidth;
  const std::int64_t fits = cache_shares.turned / (p.k * static_cast<std::int64_t>(sizeof(T)) + 1) / kWidth * kWidth;
  return p.a_transposed ? p.m : at_most(p.m, fits < kLeast ? kLeast : fits);
}

// Is C^T = B^T A^T cheaper? In quarter cycles: 2 for each FMA of a vector, 1 for each element that is transposed.
template <class T> BP_INLINE bool swap_pays(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  if (!p.b_transposed && (!p.a_transposed || p.n % kWidth == 0)) return false;
  if (turned_rows(p) < p.m && p.k * p.n * static_cast<std::int64_t>(sizeof(T)) > cache_shares.remote) return false;
  const std::int64_t plain = 2 * p.m * p.k * ceil_div(p.n, kWidth) + (p.b_transposed ? p.n * p.k : 0);
  const std::int64_t turned = p.m * p.n + (p.a_transposed ? 0 : p.m * p.k);
  return 2 * p.n * p.k * ceil_div(p.m, kWidth) + turned < plain;
}

// Is A worth a copy, where B is? When its lines collide in L1, and each panel serves several tiles.
template <class T> BP_INLINE bool copies_a(const Matmul<T>& p) { return p.n > 8 * Vec<T>::kWidth && aliases<T>(p.lda); }

// Is B worth a copy? When it is too large for L2 and its rows are far apart, or when its lines collide in L1, and
// each panel then serves several tiles. Or for A's sake, where a line of A^T has the rows of several tiles, each of
// which would fetch it anew (v3, 1024x128x128: 93 -> 118 GFLOP/s).
template <class T> BP_INLINE bool packing_pays(const Matmul<T>& p) {
  const std::int64_t bytes = p.k * p.n * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t tiles = ceil_div(p.m, max_tile_rows(2));
  if (tiles < 2 || p.n <= 2 * Vec<T>::kWidth) return false;
  if (tiles < 4) return bytes > cache_shares.far;
  const bool shared_lines = 2 * max_tile_rows(2) <= kLine<T> && p.a_transposed && copies_a(p);
  return bytes > cache_shares.direct || ((aliases<T>(2 * p.ldb) || shared_lines) && bytes > cache_shares.sweep);
}

struct Blocks {
  std::int64_t depth, height, group;  // of k, m and n
  BP_INLINE std::int64_t panels() const { return depth * group; }
};

// m, k, n in elements of A and B; whole chunks if there are several; depth 1 for k = 0, whose only block is empty.
template <class T>
BP_INLINE Blocks make_blocks(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t chunk, bool whole_k) {
  constexpr std::int64_t kBytes = sizeof(T), kStep = 2 * Vec<T>::kWidth;
  Blocks blocks{};
  const bool few_rows = m * at_most(k * kBytes, cache_shares.short_step) <= cache_shares.few_rows;
  const bool short_blocks = few_rows && !whole_k && (chunk == 0 || chunk >= k) && k * n * kBytes > cache_shares.remote;
  const Split depths(k, whole_k ? k : (short_blocks ? cache_shares.short_step : kLongBytes) / kBytes);
  blocks.depth = depths.size + (depths.larger != 0 ? 1 : 0);
  if (depths.parts > 1) blocks.depth = round_up(blocks.depth, kLine<T>);  // whole lines of a transposed B
  if (chunk > 0 && chunk < k) blocks.depth = round_up(blocks.depth, chunk);
  blocks.depth = k == 0 ? 1 : at_most(blocks.depth, k);
  const std::int64_t depth_bytes = blocks.depth * kBytes;
  blocks.height = short_blocks ? m : at_most(m, cache_shares.block_a / depth_bytes + max_tile_rows(2));
  if (blocks.height == m) {  // a panel is used up at once
    blocks.group = widest_tile(m) * Vec<T>::kWidth;
    return blocks;
  }
  const std::int64_t a_bytes = m * depth_bytes;  // read, and perhaps copied, once for each group
  std::int64_t bytes = at_most(k * n * kBytes / 4, a_bytes / 2 > kBlockBBytes ? a_bytes / 2 : kBlockBBytes);
  if (bytes < kLeastBBytes || few_rows) bytes = kLeastBBytes;
  const std::int64_t fits = bytes / depth_bytes / kStep * kStep;
  blocks.group = round_up(ceil_div(n, ceil_div(n, fits < kStep ? kStep : fits)), kStep);
  return blocks;
}

struct Plan {
  Path path;
  bool pack_a, totals;
  std::int64_t turned;                    // swapped: rows of C at once
  Blocks blocks;                          // packed
  std::int64_t copied_lda;                // of A's rows where they are copied
  std::int64_t a_at, totals_at, scratch;  // offsets into the scratch (packed B at 0) and its size, in elements
};

template <class T> BP_INLINE Plan make_plan(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  Plan plan{};
  const bool many_chunks = p.chunk > 0 && p.chunk < p.k;
  const bool swap = p.rate == 0 && !p.goes_on && swap_pays(p);
  if (swap || (!p.b_transposed && !packing_pays(p))) {
    plan.totals = p.add && many_chunks;
    if (swap) {
      plan.path = Path::kSwapped;
      plan.turned = turned_rows(p);
      plan.a_at = round_up(plan.turned, kWidth) * p.k;  // delta^T; then the block of C^T
      plan.totals_at = plan.a_at + round_up(plan.turned, kWidth) * kSwapRows;
    } else {
      plan.path = Path::kDirect;
      plan.totals_at = kMaskedLoads || p.n % kWidth == 0 ? 0 : kWidth * p.k;  // the edge of B
    }
  } else {
    plan.path = Path::kPacked;
    // What is added to has no room for a chain between blocks: then one block.
    plan.blocks = make_blocks<T>(p.m, p.k, p.n, p.chunk, p.add && (p.chunk == 0 || p.rate != 0));
    plan.totals = p.add && (many_chunks || plan.blocks.depth < p.k);
    plan.pack_a = copies_a(p);
    plan.a_at = plan.blocks.panels();
    plan.copied_lda = (ceil_div(plan.blocks.depth, kLine<T>) | 1) * kLine<T>;
    // A vector more: whole ones are stored but for the last step's.
    plan.totals_at = plan.a_at + (plan.pack_a ? plan.copied_lda * plan.blocks.height + kWidth : 0);
  }
  plan.totals_at = round_up(plan.totals_at, kWidth);
  plan.scratch = plan.totals_at + (plan.totals ? p.m * p.n : 0);
  return plan;
}

// ---- the most scratch that a product of up to these sizes takes: each bound grows with m, n and k -------------------

BP_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// Of make_blocks: the depth, and the panels of B.
template <class T> BP_INLINE std::int64_t most_depth(std::int64_t k, std::int64_t chunk, bool whole_k) {
  const std::int64_t depth = kLongBytes / static_cast<std::int64_t>(sizeof(T));
  return whole_k ? k : at_most(k, chunk > 0 && chunk < k ? round_up(depth, chunk) : depth);
}
template <class T>
BP_INLINE std::int64_t most_panels(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t depth) {
  constexpr std::int64_t kBytes = sizeof(T), kWidth = Vec<T>::kWidth, kStep = 2 * kWidth;
  const std::int64_t a_share = larger(m * depth * kBytes / 2, kBlockBBytes);
  const std::int64_t group = larger(kLeastBBytes, at_most(k * n * kBytes / 4, a_share)) / kBytes;  // times the depth
  const std::int64_t several = at_most(depth * round_up(n, kStep), larger(group, kStep * depth));
  return larger(several, kMaxTileVecs * kWidth * depth);
}

template <class T> BP_INLINE std::int64_t most_packed(const Matmul<T>& p) {
  constexpr std::int64_t kBytes = sizeof(T), kWidth = Vec<T>::kWidth;
  const bool small = p.m <= max_tile_rows(2) || p.n <= 2 * kWidth || p.k * p.n * kBytes <= cache_shares.sweep;
  if (!p.b_transposed && small) return 0;
  const std::int64_t depth = most_depth<T>(p.k, p.chunk, p.add && (p.chunk == 0 || p.rate != 0));
  const std::int64_t b = most_panels<T>(p.m, p.k, p.n, depth);
  if (p.n <= 8 * kWidth) return b;
  // A's rows are copied two lines longer than the depth at most, in blocks of at most this number of bytes, and of the
  // tile's rows.
  const std::int64_t block =
      larger(cache_shares.block_a / kBytes + max_tile_rows(2) * depth, cache_shares.few_rows / kBytes);
  return b + at_most(p.m * depth, block) + 2 * kLine<T> * p.m + kWidth;
}

template <class T> BP_INLINE std::int64_t most_swapped(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  if (p.rate != 0 || (!p.b_transposed && !p.a_transposed)) return 0;
  const std::int64_t rows = round_up(p.m, kWidth);
  if (p.a_transposed) return rows * (p.k + kSwapRows);
  const std::int64_t most = cache_shares.turned / static_cast<std::int64_t>(sizeof(T));  // turned rows times k
  return at_most(rows * p.k, larger(most, 4 * kWidth * p.k)) + at_most(rows, larger(most, 4 * kWidth)) * kSwapRows;
}

template <class T> BP_INLINE std::int64_t most_scratch(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t edge = kMaskedLoads ? 0 : kWidth * p.k;
  const std::int64_t totals = p.add && p.chunk > 0 && p.rate == 0 ? p.m * p.n : 0;
  return round_up(larger(edge, larger(most_packed(p), most_swapped(p))), kWidth) + totals;
}

}  // namespace bp::BP_TIER
