// Random numbers for layers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11) in vectors, then what layers want of it.
//
// Number i of a stream is word (i mod 64) / 16 of the block (i / 64) 16 + i mod 16, so sixteen blocks give 64 numbers
// without a transposition. It depends on (seed, stream, i) alone: neither on the tier nor on who asks for which part.
#include "kernels/table.h"
#include "simd/loops.h"
#include "simd/math.h"

namespace bp::BP_TIER {

typedef std::uint32_t Words __attribute__((vector_size(64), may_alias));
typedef std::uint64_t Pairs __attribute__((vector_size(64), may_alias));

constexpr std::int64_t kGroup = 64;  // numbers made at once

// High and low words of each 32 x 32 bit product, even and odd lanes apart.
static BP_INLINE void multiply(const Words& a, std::uint32_t by, Words& high, Words& low) {
  const Pairs both = reinterpret_cast<const Pairs&>(a);
  const Pairs even = (both & 0xffffffffu) * by, odd = (both >> 32) * by;
  const Pairs tops = (even >> 32) | (odd & ~std::uint64_t{0xffffffffu});
  const Pairs bottoms = (even & 0xffffffffu) | (odd << 32);
  high = reinterpret_cast<const Words&>(tops);
  low = reinterpret_cast<const Words&>(bottoms);
}

// The numbers group * 64 .. + 63.
static void random_group(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::uint32_t* out) {
  Words c0 = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, c1 = {}, c2 = {}, c3 = {};
  const std::uint64_t counter = group * 16;
  c0 += static_cast<std::uint32_t>(counter);  // a multiple of 16: no carry
  c1 += static_cast<std::uint32_t>(counter >> 32);
  c2 += static_cast<std::uint32_t>(stream);
  c3 += static_cast<std::uint32_t>(stream >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    Words high0, low0, high1, low1;
    multiply(c0, 0xD2511F53u, high0, low0);
    multiply(c2, 0xCD9E8D57u, high1, low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const Words result[4] = {c0, c1, c2, c3};
  __builtin_memcpy(out, result, sizeof result);
}

static void random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::int64_t n,
                        std::uint32_t* out) {
  std::int64_t i = 0;
  for (; i + kGroup <= n; i += kGroup) random_group(seed, stream, group++, out + i);
  if (i == n) return;
  std::uint32_t rest[kGroup];
  random_group(seed, stream, group, rest);
  for (std::int64_t k = 0; i + k < n; ++k) out[i + k] = rest[k];
}

template <class T>
static void random_choice(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::int64_t n,
                          std::uint32_t threshold, T below, T above, T* out) {
  std::uint32_t bits[kGroup];
  for (std::int64_t i = 0; i < n; i += kGroup) {
    const std::int64_t count = n - i < kGroup ? n - i : kGroup;
    random_group(seed, stream, group++, bits);
    for (std::int64_t k = 0; k < count; ++k) out[i + k] = bits[k] < threshold ? below : above;
  }
}

template <class T> static BP_INLINE Vec<T> polynomial(Vec<T> x, T c0, T c1, T c2, T c3) {
  return fma(fma(fma(Vec<T>(c3), x, Vec<T>(c2)), x, Vec<T>(c1)), x, Vec<T>(c0));
}

// The normal quantile of u in (0, 1): AS 241, PPND7 (Wichura 1988), about 1e-7. u is never nearer to an end than 2^-24,
// so the far tail of the algorithm is left out.
template <class T> static BP_INLINE Vec<T> normal_quantile(Vec<T> u) {
  const Vec<T> q = u - Vec<T>(T(0.5)), one(T(1));
  const Vec<T> r = fnma(q, q, Vec<T>(T(0.180625)));
  const Vec<T> middle = q * polynomial<T>(r, T(3.3871327179), T(50.434271938), T(159.29113202), T(59.109374720)) /
                        polynomial<T>(r, T(1), T(17.895169469), T(78.757757664), T(67.187563600));
  const Vec<T> s = sqrt(Vec<T>(T(0)) - log(min(u, one - u))) - Vec<T>(T(1.6));
  const Vec<T> tail = polynomial<T>(s, T(1.4234372777), T(2.7568153900), T(1.3067284816), T(0.17023821103)) /
                      fma(fma(Vec<T>(T(0.12021132975)), s, Vec<T>(T(0.73700164250))), s, one);
  return select(abs(q) > Vec<T>(T(0.425)), select(q > Vec<T>(T(0)), tail, Vec<T>(T(0)) - tail), middle);
}

template <class T>
static void random_normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::int64_t n, T mean,
                          T deviation, T* out) {
  std::uint32_t bits[kGroup];
  T u[kGroup];
  for (std::int64_t i = 0; i < n; i += kGroup) {
    const std::int64_t count = n - i < kGroup ? n - i : kGroup;
    random_group(seed, stream, group++, bits);
    // The middle of one of 2^23 cells: exact in single precision, never 0 or 1.
    for (std::int64_t k = 0; k < kGroup; ++k) {
      u[k] = (static_cast<T>(static_cast<std::int32_t>(bits[k] >> 9)) + T(0.5)) * T(0x1p-23);
    }
    T* to = out + i;
    each_vector<T>(
        count, [&](auto at) { at.store(to, fma(normal_quantile<T>(at.load(u)), Vec<T>(deviation), Vec<T>(mean))); });
  }
}

template <class T> void fill_random(Kernels<T>& table) {
  table.random_bits = random_bits;
  table.random_choice = random_choice<T>;
  table.random_normal = random_normal<T>;
}

template void fill_random(Kernels<float>&);
template void fill_random(Kernels<double>&);

}  // namespace bp::BP_TIER
