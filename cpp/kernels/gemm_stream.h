// The packed product: B in groups of panels that stay near while all rows of A pass over them.
//
// Few rows of A use a group up fast. So A's block stays in the level-2 cache, groups are small, and while the tiles of one
// are computed they ask for the next one's lines: the memory that B comes from is not waited for.
#pragma once

#include "kernels/gemm_sweep.h"

namespace bp::BP_TIER {

template <class T> struct Group {  // `depth` steps from k of `n` columns from j
  std::int64_t k, depth, j, n;
  T* panels;
};

// whole: the product, C and what its chains start from. lay_a(region, i, k) says where the region's rows and steps of A lie,
// from row i and step k.
template <class T, class LayA, class PackB>
void stream(const Region<T>& whole, const Blocks& blocks, const Source<T>& b, LayA lay_a, PackB pack_b, T* panels) {
  constexpr std::int64_t kValues = SumOfElement<T>::kValues;
  const Split heights(whole.m, blocks.height);
  const auto group_at = [&](std::int64_t k, std::int64_t j) {
    return Group<T>{k, at_most(whole.k - k, blocks.depth), j, at_most(whole.n - j, blocks.group), panels};
  };
  Group<T> group = group_at(0, 0);
  Region<T> r = whole;
  r.b_packed = true;
  for (bool more = true; more;) {
    pack_b(group);
    const bool last_j = group.j + group.n == whole.n;
    const std::int64_t next_k = last_j ? group.k + blocks.depth : group.k;
    more = !last_j || next_k < whole.k;
    const Group<T> next = more ? group_at(next_k, last_j ? 0 : group.j + group.n) : Group<T>{};
    if (blocks.ahead && more) {
      const std::int64_t at = b.transposed ? next.j * b.ld + kValues * next.k : kValues * next.k * b.ld + next.j;
      r.next = {b.b + at, b.ld, next.depth, next.n, b.transposed};
    } else {
      r.next.n = 0;
    }
    for (std::int64_t y = 0, i = 0; y < heights.parts; i += heights.of(y), ++y) {
      if (group.j == 0 || heights.parts > 1) {
        r.m = heights.of(y), r.n = whole.n, r.k = group.depth;
        r.max_rows = tallest_tile<T>(r);
        lay_a(r, i, group.k);
      }
      r.n = group.n, r.b = group.panels;
      r.c = whole.c + i * whole.ldc + group.j;
      if (group.k == 0) {
        r.start = whole.start == nullptr ? nullptr : whole.start + i * whole.start_stride + group.j;
        r.start_stride = whole.start_stride;
      } else if (whole.chunk > 0 && whole.chunk < whole.k) {
        r.add = true;  // a block is whole chunks
      } else {
        r.start = r.c, r.start_stride = whole.ldc;
      }
      sweep<T>(r);
    }
    group = next;
  }
}

}  // namespace bp::BP_TIER
