// Chooses the tier, and the instruction of products in bfloat16: the best that there is, or what was asked for.
#include <cstring>

#include "kernels/caches.h"
#include "kernels/table.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace bp {

#if defined(__x86_64__)
// clang-format off
namespace baseline { void fill_table(Kernels<float>&, Kernels<double>&); }
namespace v3 { void fill_table(Kernels<float>&, Kernels<double>&); }
namespace v4 { void fill_table(Kernels<float>&, Kernels<double>&); }
namespace bf16 {
void matmul(const Matmul<float>&);
std::int64_t matmul_scratch(const Matmul<float>&);
std::int64_t matmul_most_scratch(const Matmul<float>&);
}
namespace amx {
void matmul(const Matmul<float>&);
std::int64_t matmul_scratch(const Matmul<float>&);
std::int64_t matmul_most_scratch(const Matmul<float>&);
}
#else
namespace neon { void fill_table(Kernels<float>&, Kernels<double>&); }
// clang-format on
#endif

namespace {

struct Tier {
  const char* name;
  void (*fill)(Kernels<float>&, Kernels<double>&);
  bool has_fma;
  bool (*supported)();
};

#if defined(__x86_64__)
// Those of bfloat16 are there for who has looked whether they can be run.
void fill_v4(Kernels<float>& single, Kernels<double>& full) {
  v4::fill_table(single, full);
  single.products[static_cast<int>(Compute::kPairs)] = {bf16::matmul, bf16::matmul_scratch, bf16::matmul_most_scratch};
  single.products[static_cast<int>(Compute::kTiles)] = {amx::matmul, amx::matmul_scratch, amx::matmul_most_scratch};
}

bool cpu_has_pairs() { return __builtin_cpu_supports("avx512bf16"); }

bool cpu_has_tiles() {
  constexpr unsigned kBfloat16 = 1u << 22, kTile = 1u << 24;  // CPUID, leaf 7, EDX
  unsigned a = 0, b = 0, c = 0, d = 0;
  return cpu_has_pairs() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kBfloat16) != 0 && (d & kTile) != 0;
}

// The registers of tiles are 8 KB, which Linux keeps for a process only after it has asked for them; it refuses where a
// stack for signals is too small for them.
bool system_lends_tiles() {
#if defined(__linux__)
  constexpr long kAsk = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool lent = syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
  return lent;
#else
  return false;
#endif
}

// Intel's AVX512_BF16 is no faster than its single precision, and conversions come on top: the network
// 1024-2048-2048-100 takes 50 ms a step with it and 36 without.
bool pairs_pay() { return __builtin_cpu_is("amd"); }
#else
bool cpu_has_pairs() { return false; }
bool cpu_has_tiles() { return false; }
bool system_lends_tiles() { return false; }
bool pairs_pay() { return false; }
#endif

// Best first.
const Tier kTiers[] = {
#if defined(__x86_64__)
    {"v4", fill_v4, true,
     [] {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}},
    {"v3", v3::fill_table, true,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"); }},
    {"baseline", baseline::fill_table, false, [] { return true; }},
#else
    {"neon", neon::fill_table, true, [] { return true; }},
#endif
};

const Tier* current = nullptr;
Kernels<float> single;
Kernels<double> full;
const char* const kInstructions[] = {"none", "avx512_bf16", "amx_bf16"};  // of bfloat16, by Compute
int wish = -1;                                                            // one of them; or the best
Amx pretended = Amx::kOwn;

}  // namespace

template <> const Kernels<float>& kernels<float>() { return single; }
template <> const Kernels<double>& kernels<double>() { return full; }

const char* select_tier(const char* wanted) {
  for (const Tier& tier : kTiers) {
    if (*wanted != '\0' && std::strcmp(wanted, tier.name) != 0) continue;
    if (!tier.supported()) continue;
    use_caches({0, 0});
    single = {}, full = {};
    tier.fill(single, full);
    current = &tier;
    return tier.name;
  }
  return nullptr;
}

const char* supported_tier(int i) {
  for (const Tier& tier : kTiers) {
    if (tier.supported() && i-- == 0) return tier.name;
  }
  return nullptr;
}

std::int64_t terms_at_once(Compute c) { return c == Compute::kTiles ? 32 : c == Compute::kPairs ? 2 : 1; }

const char* compute_name(Compute c) { return c == Compute::kFull ? "" : kInstructions[static_cast<int>(c)]; }

const char* why_no_tiles() {
  if (single.products[static_cast<int>(Compute::kTiles)].run == nullptr) return "the kernels in use have none";
  const bool own = pretended == Amx::kOwn;
  if (!cpu_has_pairs() || (own && !cpu_has_tiles())) return "this CPU has no AMX-BF16";
  const bool lent = own ? system_lends_tiles() : pretended == Amx::kEmulated;
  return lent ? nullptr : "the operating system does not lend this process the registers of AMX";
}

Compute bfloat16_products() {
  const bool any = wish < 0;
  if ((any || wish == static_cast<int>(Compute::kTiles)) && why_no_tiles() == nullptr) return Compute::kTiles;
  const bool pairs = single.products[static_cast<int>(Compute::kPairs)].run != nullptr && cpu_has_pairs();
  return pairs && (any ? pairs_pay() : wish == static_cast<int>(Compute::kPairs)) ? Compute::kPairs : Compute::kFull;
}

bool select_bfloat16(const char* wanted, Amx tiles) {
  const int wish_before = wish;
  const Amx before = pretended;
  wish = -1, pretended = tiles;
  if (*wanted == '\0') return true;
  for (int i = 0; i < static_cast<int>(Compute::kCount); ++i) {
    if (std::strcmp(wanted, kInstructions[i]) == 0) wish = i;
  }
  if (wish >= 0 && bfloat16_products() == static_cast<Compute>(wish)) return true;
  wish = wish_before, pretended = before;
  return false;
}

const char* tier_name() { return current->name; }
bool tier_has_fma() { return current->has_fma; }

}  // namespace bp
