// The packed product: B goes through panels, each packed once for each block of k and used by all rows of A.
//
// While the tiles of one panel are computed they ask for lines of the next, and those of the last panels for the next
// block of A: as many as go beside the arithmetic, so that the memory that they come from is not waited for. Where rows
// of B lie in a line the first tile of a panel packs it on its way.
#pragma once

#include "kernels/gemm_sweep.h"

namespace bp::BP_TIER {

// So many panels ask for a block of A: the more, the fewer lines at once, but the longer they lie in L2. (2048 x 2048 x
// 1024: 90 to 94 % of the peak.)
constexpr std::int64_t kPanelsAhead = 4;

// Part number `part` of `parts` of the rows of A: of the columns of A^T.
template <class T> Source<T> rows_of(Source<T> a, std::int64_t part, std::int64_t parts) {
  const std::int64_t first = a.n * part / parts;
  a.n = a.n * (part + 1) / parts - first;
  a.b += first * a.ld;
  return a;
}

// whole: the product, C and what its chains start from; b: all of B; a: of A^T if its columns may be asked for, else of
// no depth. lay_a(region, i, k) says where the region's rows and steps of A lie, from row i and step k; pack(source,
// panel) packs a panel that no tile can.
template <class T, class LayA, class Pack>
void stream(const Region<T>& whole, const Blocks& blocks, const Source<T>& a, const Source<T>& b, LayA lay_a, Pack pack,
            T* panels) {
  constexpr std::int64_t kValues = SumOfElement<T>::kValues;
  const std::int64_t panel_columns = whole.max_vecs * Vec<T>::kWidth;
  const bool asks = whole.max_vecs <= kMostPackingVecs;
  const bool tiles_pack = kTilesPack<T> && !b.transposed && asks;
  const Split heights(whole.m, blocks.height);
  const auto block_of = [&](const Source<T>& all, std::int64_t k, std::int64_t j, std::int64_t n) {
    const std::int64_t value = kValues * k, at = all.transposed ? j * all.ld + value : value * all.ld + j;
    return Source<T>{all.b + at, all.ld, at_most(all.depth - value, kValues * blocks.depth), n, all.transposed};
  };
  const auto panel_of = [&](std::int64_t k, std::int64_t j, std::int64_t group_end) {
    return block_of(b, k, j, at_most(group_end - j, panel_columns));
  };
  const bool far_a = asks && bytes_of(a) > cache_shares.far, far_b = asks && bytes_of(b) > cache_shares.direct;
  Region<T> r = whole;
  std::int64_t k = 0, group = 0;  // of n columns, whose panels are kept while all blocks of A pass
  for (bool more = true; more;) {
    const std::int64_t end = at_most(group + blocks.group, whole.n);
    const std::int64_t next_k = end < whole.n ? k : k + blocks.depth, next_group = end < whole.n ? end : 0;
    more = end < whole.n || next_k < whole.k;
    r.k = at_most(whole.k - k, blocks.depth);
    for (std::int64_t y = 0, i = 0; y < heights.parts; i += heights.of(y), ++y) {
      const bool last_y = y + 1 == heights.parts;
      if (group == 0 || heights.parts > 1) {
        r.m = heights.of(y), r.n = whole.n;
        r.max_rows = tallest_tile<T>(r);
        lay_a(r, i, k);
      }
      // The block of A to come. While B's panels are packed they come first, so one that stays for all groups has no
      // turn.
      const std::int64_t a_k = last_y ? next_k : k,
                         asking = at_most(ceil_div(end - group, panel_columns), kPanelsAhead);
      Source<T> next_rows{};
      if (far_a && a_k < whole.k) next_rows = block_of(a, a_k, last_y ? 0 : i + r.m, heights.of(last_y ? 0 : y + 1));
      for (std::int64_t j = group; j < end; j += panel_columns) {
        const Source<T> from = panel_of(k, j, end);
        T* const panel = panels + (j - group) * r.k;
        const bool last_j = j + panel_columns >= end;
        const std::int64_t left = (end - j - 1) / panel_columns;
        r.next = left < asking ? rows_of(next_rows, asking - 1 - left, asking) : Source<T>{};
        if (far_b && last_j && last_y && more) {
          r.next = panel_of(next_k, next_group, at_most(next_group + blocks.group, whole.n));
        }
        if (far_b && !last_j && y == 0) r.next = panel_of(k, j + panel_columns, end);
        if (y == 0 && !tiles_pack) pack(from, panel);
        r.n = from.n, r.b = panel, r.b_packed = true, r.panel = nullptr;
        if constexpr (kTilesPack<T>) {
          if (y == 0 && tiles_pack) r.b = from.b, r.ldb = from.ld, r.b_packed = false, r.panel = panel;
        }
        r.c = whole.c + i * whole.ldc + j;
        r.after = more ? whole.c + next_group : nullptr;
        if (!last_y) r.after = whole.c + (i + r.m) * whole.ldc + group;
        if (!last_j) r.after = r.c + panel_columns;
        if (k == 0) {
          r.start = whole.start == nullptr ? nullptr : whole.start + i * whole.start_stride + j;
          r.start_stride = whole.start_stride;
        } else if (whole.chunk > 0 && whole.chunk < whole.k) {
          r.add = true;  // a block is whole chunks
        } else {
          r.start = r.c, r.start_stride = whole.ldc;
        }
        sweep<T>(r);
      }
    }
    k = next_k, group = next_group;
  }
}

}  // namespace bp::BP_TIER
