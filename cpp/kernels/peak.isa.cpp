// The most flops a second that a tier can do: independent FMA chains, nothing from memory.
//
// Two FMAs a cycle of 4 cycles' latency need 8 chains, four a cycle (some ARM cores) 16. As many as fit beside the two
// factors; the tier without FMA needs one register more, for the product.
#include "kernels/table.h"
#include "simd/vec.h"

namespace bp::BP_TIER {

constexpr int kChains = kManyRegisters ? 16 : 12;

// Each chain starts elsewhere and tends to 1 / (1 - x): a compiler can neither merge chains nor shorten them.
template <class T> static std::int64_t fma_chains(std::int64_t steps, T x, T* sum) {
  const Vec<T> factor(x), one(T(1));
  Vec<T> chain[kChains];
  BP_UNROLL(16)
  for (int c = 0; c < kChains; ++c) chain[c] = Vec<T>(T(c));
  for (std::int64_t s = 0; s < steps; ++s) {
    BP_UNROLL(16)
    for (int c = 0; c < kChains; ++c) chain[c] = fma(chain[c], factor, one);
  }
  BP_UNROLL(16)
  for (int c = 1; c < kChains; ++c) chain[0] = chain[0] + chain[c];
  *sum = chain[0].v[0];
  return 2 * steps * kChains * Vec<T>::kWidth;
}

template <class T> void fill_peak(Kernels<T>& table) { table.fma_chains = fma_chains<T>; }

template void fill_peak(Kernels<float>& table);
template void fill_peak(Kernels<double>& table);

}  // namespace bp::BP_TIER
