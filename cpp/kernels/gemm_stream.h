// The packed product: B in groups of panels that stay near while all rows of A pass over them.
//
// Few rows of A use a group up fast. So A's block stays in the level-2 cache, groups are small, and each is packed piece by
// piece between the tiles of the group before: neither the copy nor the memory it comes from is waited for.
#pragma once

#include "kernels/gemm_sweep.h"

namespace bp::BP_TIER {

template <class T> struct Group {  // `depth` steps from k of `n` columns from j
  std::int64_t k, depth, j, n;
  T* panels;
};

// Packs a group in pieces; pack(group, from, to) packs the steps [from, to) of all its panels.
template <class T, class Pack> class GroupPacker {
 public:
  explicit GroupPacker(Pack pack) : pack_(pack) {}
  void start(const Group<T>& group) { group_ = group, packed_ = 0; }
  void advance(std::int64_t part, std::int64_t parts) {
    constexpr std::int64_t kWidth = Vec<T>::kWidth;
    const std::int64_t to = part == parts ? group_.depth : group_.depth * part / parts / kWidth * kWidth;
    if (to <= packed_) return;
    pack_(group_, packed_, to);
    packed_ = to;
  }

 private:
  Pack pack_;
  Group<T> group_{};
  std::int64_t packed_ = 0;
};

// whole: the product, C and what its chains start from. lay_a(region, i, k) says where the region's rows and steps of A lie,
// from row i and step k.
template <class T, class LayA, class PackB>
void stream(const Region<T>& whole, const Blocks& blocks, LayA lay_a, PackB pack_b, T* panels) {
  const Split heights(whole.m, blocks.height);
  GroupPacker<T, PackB> packer(pack_b);
  const auto group_at = [&](std::int64_t k, std::int64_t j, T* to) {
    return Group<T>{k, at_most(whole.k - k, blocks.depth), j, at_most(whole.n - j, blocks.group), to};
  };
  Group<T> group = group_at(0, 0, panels);
  packer.start(group);
  Region<T> r = whole;
  r.b_packed = true;
  for (bool more = true; more;) {
    packer.advance(1, 1);
    const bool last_j = group.j + group.n == whole.n;
    const std::int64_t next_k = last_j ? group.k + blocks.depth : group.k;
    more = !last_j || next_k < whole.k;
    T* const other = blocks.ahead && group.panels == panels ? panels + blocks.depth * blocks.group : panels;
    const Group<T> next = more ? group_at(next_k, last_j ? 0 : group.j + group.n, other) : Group<T>{};
    packer.start(next);
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
      sweep<T>(r, [&](std::int64_t done, std::int64_t all) {
        if (blocks.ahead) packer.advance(done, all);
      });
    }
    group = next;
  }
}

}  // namespace bp::BP_TIER
