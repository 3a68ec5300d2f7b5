// Matrix products against an exact answer, for every tier this CPU can run.
//
// 1. Small integers: every product and sum is exact, so the result must equal the int64 answer.
// 2. Random reals: every element must be the bits of the documented chain, computed with scalar std::fma.
// Products of operands rounded to bfloat16 do the first; tiles are emulated where the CPU has none.
// Operands sit between guard values and with leading dimensions larger than they need; nothing outside C may change.
// Usage: gemm_exact [shapes] [seed]; exit status 1 and a line per failure if something differs.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/table.h"

namespace bp {
#if defined(__x86_64__)
// clang-format off
namespace baseline { template <class T> void fill_gemm(Kernels<T>&); }
namespace v3 { template <class T> void fill_gemm(Kernels<T>&); }
namespace v4 { template <class T> void fill_gemm(Kernels<T>&); }
namespace bf16 {
void matmul(const Matmul<float>&);
std::int64_t matmul_scratch(const Matmul<float>&);
}
namespace amx {
void matmul(const Matmul<float>&);
std::int64_t matmul_scratch(const Matmul<float>&);
}
#else
namespace neon { template <class T> void fill_gemm(Kernels<T>&); }
// clang-format on
#endif
}  // namespace bp

extern "C" int install(void);  // of tests/helpers/tiles.c

namespace {

struct Case {
  std::int64_t m, n, k, pad_a, pad_b, pad_c, chunk;
  bool a_transposed, b_transposed, bias, add, goes_on;
  double rate;
  std::int64_t soon;  // runs, of 1000 bytes
};

struct Tier {
  const char* name;
  bool has_fma;
  bp::Kernels<float> single;
  bp::Kernels<double> full;
  std::int64_t terms = 1;  // taken at once; several: of rounded operands, in single precision alone
  template <class T> const bp::Kernels<T>& table() const {
    if constexpr (sizeof(T) == 4) return single;
    else return full;
  }
};

std::vector<Tier> tiers() {
  std::vector<Tier> all;
#if defined(__x86_64__)
  Tier baseline{"baseline", false, {}, {}};
  bp::baseline::fill_gemm(baseline.single);
  bp::baseline::fill_gemm(baseline.full);
  all.push_back(baseline);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    Tier v3{"v3", true, {}, {}};
    bp::v3::fill_gemm(v3.single);
    bp::v3::fill_gemm(v3.full);
    all.push_back(v3);
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
    Tier v4{"v4", true, {}, {}};
    bp::v4::fill_gemm(v4.single);
    bp::v4::fill_gemm(v4.full);
    all.push_back(v4);
  }
  if (__builtin_cpu_supports("avx512bf16")) {
    Tier pairs{"bf16", true, {}, {}, 2}, tiles{"amx", true, {}, {}, 32};
    pairs.single.products[0] = {bp::bf16::matmul, bp::bf16::matmul_scratch, nullptr};
    tiles.single.products[0] = {bp::amx::matmul, bp::amx::matmul_scratch, nullptr};
    bp::select_tier("");
    if (bp::why_no_tiles() != nullptr) install();
    all.push_back(pairs), all.push_back(tiles);
  }
#else
  Tier neon{"neon", true, {}, {}};
  bp::neon::fill_gemm(neon.single);
  bp::neon::fill_gemm(neon.full);
  all.push_back(neon);
#endif
  return all;
}

template <class T> T* aligned(std::vector<T>& v) {
  const auto at = (reinterpret_cast<std::uintptr_t>(v.data()) + 63) / 64 * 64;
  return reinterpret_cast<T*>(at);
}

// The contract of struct Matmul, literally; a row at a time, so that the chains of a row run side by side.
template <class T> void reference(const bp::Matmul<T>& p, std::vector<T>& c) {
  const std::int64_t chunk = p.chunk > 0 ? p.chunk : (p.k > 0 ? p.k : 1);
  const std::size_t n = static_cast<std::size_t>(p.n);
  std::vector<T> b(static_cast<std::size_t>(p.k) * n), total(n), sum(n);
  for (std::int64_t k = 0; k < p.k; ++k) {
    for (std::int64_t j = 0; j < p.n; ++j) {
      b[static_cast<std::size_t>(k) * n + static_cast<std::size_t>(j)] =
          p.b_transposed ? p.b[j * p.ldb + k] : p.b[k * p.ldb + j];
    }
  }
  for (std::int64_t i = 0; i < p.m; ++i) {
    for (std::size_t j = 0; j < n; ++j) total[j] = p.bias != nullptr ? p.bias[j] : T(0);
    if (p.goes_on) std::copy_n(c.data() + i * p.ldc, n, total.data());
    for (std::int64_t k0 = 0; k0 < p.k; k0 += chunk) {
      for (std::size_t j = 0; j < n; ++j) sum[j] = k0 == 0 ? total[j] : T(0);
      for (std::int64_t k = k0; k < k0 + chunk && k < p.k; ++k) {
        const T x = p.a_transposed ? p.a[k * p.lda + i] : p.a[i * p.lda + k];
        const T* y = b.data() + static_cast<std::size_t>(k) * n;
        for (std::size_t j = 0; j < n; ++j) sum[j] = std::fma(x, y[j], sum[j]);
      }
      for (std::size_t j = 0; j < n; ++j) total[j] = k0 == 0 ? sum[j] : total[j] + sum[j];
    }
    T* row = c.data() + i * p.ldc;
    for (std::size_t j = 0; j < n; ++j) {
      row[j] = !p.add ? total[j] : p.rate != 0 ? std::fma(-p.rate, total[j], row[j]) : row[j] + total[j];
    }
  }
}

template <class T, class Random> bool run(const Case& s, const Tier& tier, bool integers, Random& random) {
  const T guard = T(1e30);
  bp::Matmul<T> p{};
  p.m = s.m, p.n = s.n, p.k = s.k;
  p.a_transposed = s.a_transposed, p.b_transposed = s.b_transposed;
  p.lda = (s.a_transposed ? s.m : s.k) + s.pad_a;
  p.ldb = (s.b_transposed ? s.k : s.n) + s.pad_b;
  p.ldc = s.n + s.pad_c;
  p.add = s.add, p.chunk = s.chunk, p.goes_on = s.goes_on, p.rate = T(s.rate);
  static const std::vector<char> wanted(1 << 16);
  std::vector<const char*> runs(static_cast<std::size_t>(s.soon));
  for (const char*& at : runs) at = wanted.data() + random() % (1 << 15);
  p.soon = {runs.data(), s.soon, 1000};
  std::uniform_int_distribution<int> whole(-8, 8);
  std::normal_distribution<double> real;
  auto values = [&](std::int64_t rows, std::int64_t cols, std::int64_t ld, T around) {
    std::vector<T> v(static_cast<std::size_t>(rows * ld + 1), around);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < cols; ++j) {
        v[static_cast<std::size_t>(i * ld + j)] = integers ? T(whole(random)) : T(real(random));
      }
    }
    return v;
  };
  const T nan = std::numeric_limits<T>::quiet_NaN();  // must never be read into a result
  const auto a = s.a_transposed ? values(s.k, s.m, p.lda, nan) : values(s.m, s.k, p.lda, nan);
  const auto b = s.b_transposed ? values(s.n, s.k, p.ldb, nan) : values(s.k, s.n, p.ldb, nan);
  const auto bias = values(1, s.n, s.n, nan);
  auto c = values(s.m, s.n, p.ldc, guard);
  auto expected = c;
  p.a = a.data(), p.b = b.data(), p.c = c.data();
  p.bias = s.bias ? bias.data() : nullptr;
  const std::int64_t size = tier.table<T>().products[0].scratch(p);
  constexpr std::int64_t kGuards = 32;
  std::vector<T> scratch(static_cast<std::size_t>(size + kGuards) + 64, nan);
  p.scratch = aligned(scratch);
  std::fill_n(p.scratch + size, kGuards, guard);
  tier.table<T>().products[0].run(p);
  bool good = std::count(p.scratch + size, p.scratch + size + kGuards, guard) == kGuards;
  reference(p, expected);
  for (std::size_t i = 0; good && i < c.size(); ++i) {
    if (integers || tier.has_fma) {
      good = std::memcmp(&c[i], &expected[i], sizeof(T)) == 0 || (c[i] == 0 && expected[i] == 0 && integers);
    } else {
      const T bound = std::numeric_limits<T>::epsilon() * T(8 * (s.k + 2)) * T(std::sqrt(s.k + 1));
      good = std::abs(c[i] - expected[i]) <= bound;
    }
  }
  if (!good) {
    std::printf("%s %s %s m %ld n %ld k %ld ta %d tb %d bias %d add %d goes_on %d rate %g chunk %ld pads %ld %ld %ld\n",
                tier.name, sizeof(T) == 4 ? "float" : "double", integers ? "integers" : "reals", long(s.m), long(s.n),
                long(s.k), s.a_transposed, s.b_transposed, s.bias, s.add, s.goes_on, s.rate, long(s.chunk),
                long(s.pad_a), long(s.pad_b), long(s.pad_c));
  }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  const int shapes = argc > 1 ? std::atoi(argv[1]) : 300;
  std::mt19937_64 random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const std::int64_t edges[] = {0,  1,  2,  3,  4,  5,  7,  8,  9,  13, 14, 15, 16,  17,
                                27, 28, 29, 31, 32, 33, 47, 63, 64, 65, 95, 97, 128, 130};
  auto pick = [&](auto... v) {
    const std::int64_t all[] = {v...};
    return all[random() % (sizeof all / sizeof *all)];
  };
  auto size = [&] {
    return random() % 8 == 0 ? std::int64_t(random() % 300) : edges[random() % (sizeof edges / sizeof *edges)];
  };
  const auto all = tiers();
  long failures = 0, runs = 0;
  for (int shape = 0; shape < shapes; ++shape) {
    Case s{};
    s.m = size(), s.n = size(), s.k = size();
    if (shape % 50 == 9) s.k = 500 + std::int64_t(random() % 1200), s.m += 30, s.n += 30;  // blocks of k
    if (shape % 97 == 9) s.n += 500;                                                       // blocks of n
    if (shape % 61 == 9) s.m += 400;                                                       // blocks of m
    s.a_transposed = random() % 2, s.b_transposed = random() % 2;
    s.pad_a = pick(0, 0, 1, 5), s.pad_b = pick(0, 0, 1, 3), s.pad_c = pick(0, 0, 1, 7);
    if (shape % 7 == 0) s.pad_a = 1024 - (s.a_transposed ? s.m : s.k) % 1024;  // strides that collide in L1
    if (shape % 11 == 0) s.pad_b = 1024 - (s.b_transposed ? s.k : s.n) % 1024;
    if (shape % 23 == 10) {  // A given transposed that is packed, in blocks of an odd number of lines
      s.a_transposed = true, s.m = pick(1, 2, 4, 7, 13, 15, 30), s.pad_a = 1024 - s.m;
      s.n = 129 + std::int64_t(random() % 200), s.k = 16 * pick(5, 17, 21, 126);
    }
    if (shape % 101 == 5) {  // few rows and a far B
      s.m = 15 + std::int64_t(random() % 40), s.n = 900 + std::int64_t(random() % 100),
      s.k = 900 + std::int64_t(random() % 200);
    }
    if (shape % 40 == 17) {  // blocks of m, k and n
      s.m = 120 + std::int64_t(random() % 100), s.n = 140 + std::int64_t(random() % 150),
      s.k = 700 + std::int64_t(random() % 900);
    }
    if (shape % 40 == 37) {  // and copies of A
      s.m = 180 + std::int64_t(random() % 70), s.n = 140 + std::int64_t(random() % 150), s.k = pick(1024, 1024, 1500);
      s.b_transposed = random() % 2, s.pad_a = 1024 - (s.a_transposed ? s.m : s.k) % 1024;
    }
    if (shape % 120 == 58) {  // or large ones
      s.m = 520 + std::int64_t(random() % 60), s.n = 260 + std::int64_t(random() % 100), s.k = 1024, s.pad_a = 0;
      s.a_transposed = false;
    }
    s.add = random() % 3 == 0;
    if (random() % 2 == 0) s.chunk = pick(1, 3, 8, 16, 32, 100, 336);
    s.bias = !s.add && s.chunk == 0 && random() % 2;
    s.goes_on = !s.add && !s.bias && !s.b_transposed && s.chunk == 0 && random() % 2;
    if (s.add && s.chunk == 0 && random() % 2) s.rate = 0.25;  // exact
    if (shape % 19 == 3) {                                     // goes on where C^T would be cheaper
      s.m = 64 + std::int64_t(random() % 100), s.n = pick(1, 5, 17, 33), s.k = 20 + std::int64_t(random() % 200);
      s.a_transposed = s.goes_on = true, s.b_transposed = s.add = s.bias = false, s.chunk = 0, s.rate = 0;
    }
    if (random() % 4 == 0) s.soon = std::int64_t(random() % 40);
    for (const Tier& tier : all) {
      if (tier.terms > 1) {
        if (s.chunk % tier.terms == 0) failures += !run<float>(s, tier, true, random), ++runs;
        continue;
      }
      for (int integers = 0; integers < 2; ++integers) {
        failures += !run<float>(s, tier, integers != 0, random) + !run<double>(s, tier, integers != 0, random);
        runs += 2;
      }
    }
  }
  std::printf("%ld products, %ld wrong\n", runs, failures);
  return failures == 0 ? 0 : 1;
}
