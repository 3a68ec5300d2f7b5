#include "kernels/caches.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace bp {
namespace {

constexpr Caches kMeasured{48 << 10, 1 << 20};
// What a processor, or a virtual machine, may say and be believed.
constexpr Caches kLeast{32 << 10, 256 << 10}, kMost{64 << 10, 4 << 20};

// The table: every size that follows the caches.
constexpr CacheShares shares_of(Caches caches) {
  const std::int64_t l1 = caches.l1, l2 = caches.l2;
  CacheShares s{};
  s.sweep = l1 * 2 / 3;
  s.direct = l2 / 4;
  s.far = l2;
  s.block_a = l2 * 3 / 8;
  s.few_rows = l2 * 733 / 1024;
  s.remote = 3 * l2;
  s.short_step = std::min(kLongBytes, l2 * 11 / 4096 / 64 * 64);  // whole lines; 256 rows of them are few
  s.turned = l2 * 9 / 16;
  return s;
}

#if defined(__x86_64__)
// Leaf 4 (Intel) or 0x8000001D (AMD) tells of a cache after the other; of one that several cores share, one core's
// part: L1 is shared by the threads of a core alone.
Caches told_by(unsigned leaf) {
  Caches found{0, 0};
  std::int64_t threads = 1;
  unsigned a = 0, b = 0, c = 0, d = 0;
  for (unsigned i = 0; i < 16 && __get_cpuid_count(leaf, i, &a, &b, &c, &d) != 0 && (a & 31) != 0; ++i) {
    const unsigned kind = a & 31, level = a >> 5 & 7;
    if (kind == 2) continue;  // of instructions
    const std::int64_t sharing = (a >> 14 & 0xfff) + 1;
    const std::int64_t bytes =
        std::int64_t{(b >> 22) + 1} * ((b >> 12 & 0x3ff) + 1) * ((b & 0xfff) + 1) * (std::int64_t{c} + 1);
    if (level == 1) found.l1 = bytes, threads = sharing;
    if (level == 2) found.l2 = bytes / std::max<std::int64_t>(sharing / threads, 1);
  }
  return found;
}

Caches told() {
  const Caches found = told_by(4);
  return found.l1 > 0 ? found : told_by(0x8000001D);
}
#else
Caches told() { return {0, 0}; }
#endif

std::int64_t chosen(std::int64_t wanted, std::int64_t told, std::int64_t measured, std::int64_t least,
                    std::int64_t most) {
  const std::int64_t bytes = wanted > 0 ? wanted : told > 0 ? told : measured;
  return std::clamp(bytes, least, most);
}

Caches in_use = kMeasured;

}  // namespace

CacheShares cache_shares = shares_of(kMeasured);

Caches caches_in_use() { return in_use; }

void use_caches(Caches wanted) {
  const Caches says = told();
  in_use.l1 = chosen(wanted.l1, says.l1, kMeasured.l1, kLeast.l1, kMost.l1);
  in_use.l2 = chosen(wanted.l2, says.l2, kMeasured.l2, kLeast.l2, kMost.l2);
  cache_shares = shares_of(in_use);
}

}  // namespace bp
