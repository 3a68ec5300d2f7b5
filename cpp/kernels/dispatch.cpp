// Chooses the tier: the best the CPU has, or the one asked for.
#include <cstring>

#include "kernels/table.h"

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
void fill_v4(Kernels<float>& single, Kernels<double>& full) {
  v4::fill_table(single, full);
  if (!__builtin_cpu_supports("avx512bf16")) return;
  single.products[static_cast<int>(Compute::kPairs)] = {bf16::matmul, bf16::matmul_scratch, bf16::matmul_most_scratch};
}
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

}  // namespace

template <> const Kernels<float>& kernels<float>() { return single; }
template <> const Kernels<double>& kernels<double>() { return full; }

const char* select_tier(const char* wanted) {
  for (const Tier& tier : kTiers) {
    if (*wanted != '\0' && std::strcmp(wanted, tier.name) != 0) continue;
    if (!tier.supported()) continue;
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

const char* compute_name(Compute c) {
  return c == Compute::kTiles ? "amx_bf16" : c == Compute::kPairs ? "avx512_bf16" : "";
}

Compute bfloat16_products() {
  return single.products[static_cast<int>(Compute::kPairs)].run != nullptr ? Compute::kPairs : Compute::kFull;
}

const char* tier_name() { return current->name; }
bool tier_has_fma() { return current->has_fma; }

}  // namespace bp
