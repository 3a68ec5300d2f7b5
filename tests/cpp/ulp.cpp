// The largest error of every elementary function, in units in the last place (ULP) of the exact result, for every tier.
//
// float: a sample of bit patterns spread over all exponents, or all 2^32 with --all, against libm in double.
// double: random bit patterns and random values of the range that matters, against libm in long double (64-bit
// mantissa). A hash of all results shows that two tiers with FMA agree to the bit (NaN counts as one value); if
// not, exit status 1, as for an error above the function's limit on a tier with FMA.
// Usage: ulp [--all] [--samples N] [--threads N] [function...]
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/table.h"

namespace bp {
#if defined(__x86_64__)
// clang-format off
namespace baseline { template <class T> void fill_activations(Kernels<T>&); }
namespace v3 { template <class T> void fill_activations(Kernels<T>&); }
namespace v4 { template <class T> void fill_activations(Kernels<T>&); }
#else
namespace neon { template <class T> void fill_activations(Kernels<T>&); }
// clang-format on
#endif
}  // namespace bp

namespace {

struct Function {
  const char* name;
  bp::Math which;
  double limit;  // ULP
  double edge;   // double: half of the samples lie within [-edge, edge]
};
// clang-format off
const Function kFunctions[] = {
    {"exp", bp::Math::kExp, 1, 750},        {"log", bp::Math::kLog, 1, 4},   {"log1p", bp::Math::kLog1p, 2, 4},
    {"tanh", bp::Math::kTanh, 2, 22},       {"sigmoid", bp::Math::kSigmoid, 2, 750},
    {"erf", bp::Math::kErf, 2, 6.5},        {"softplus", bp::Math::kSoftplus, 2, 750},
    {"sqrt", bp::Math::kSqrt, 0.501, 1e6},
};
// clang-format on

struct Tier {
  const char* name;
  bool has_fma;
  bp::Kernels<float> single;
  bp::Kernels<double> full;
  template <class T> const bp::Kernels<T>& table() const {
    if constexpr (sizeof(T) == 4) return single;
    else return full;
  }
};

std::vector<Tier> supported_tiers() {
  std::vector<Tier> tiers;
  const auto add = [&](const char* name, bool has_fma, auto fill) {
    tiers.push_back({name, has_fma, {}, {}});
    fill(tiers.back().single);
    fill(tiers.back().full);
  };
#if defined(__x86_64__)
  add("baseline", false, [](auto& table) { bp::baseline::fill_activations(table); });
  if (bp::select_tier("v3") != nullptr) add("v3", true, [](auto& table) { bp::v3::fill_activations(table); });
  if (bp::select_tier("v4") != nullptr) add("v4", true, [](auto& table) { bp::v4::fill_activations(table); });
#else
  add("neon", true, [](auto& table) { bp::neon::fill_activations(table); });
#endif
  return tiers;
}

template <class W> W exact(bp::Math which, W x) {
  switch (which) {
    case bp::Math::kExp: return std::exp(x);
    case bp::Math::kLog: return std::log(x);
    case bp::Math::kLog1p: return std::log1p(x);
    case bp::Math::kTanh: return std::tanh(x);
    case bp::Math::kErf: return std::erf(x);
    case bp::Math::kSqrt: return std::sqrt(x);
    default: break;
  }
  const W e = std::exp(-std::fabs(x));
  if (which == bp::Math::kSigmoid) return (std::signbit(x) ? e : W(1)) / (1 + e);
  return (x > 0 ? x : W(0)) + std::log1p(e);
}

template <class T, class W> double ulps(T found, W wanted) {
  constexpr double kWrong = 1e9;
  if (std::isnan(wanted) || std::isnan(found)) return std::isnan(wanted) == std::isnan(found) ? 0 : kWrong;
  const T rounded = static_cast<T>(wanted);
  if (std::isinf(rounded) || std::isinf(found)) {
    if (rounded == found) return 0;
    return std::isinf(rounded) && std::isinf(found) ? kWrong : 1;  // the largest number instead of Inf, or the reverse
  }
  if (wanted == 0 && std::signbit(wanted) != std::signbit(found)) return kWrong;
  if (found == rounded) return 0.5;  // at most; spares most inputs the division below
  int exponent = std::numeric_limits<T>::min_exponent;
  if (wanted != 0 && std::ilogb(wanted) + 1 > exponent) exponent = std::ilogb(wanted) + 1;
  return static_cast<double>(std::fabs(static_cast<W>(found) - wanted) *
                             std::ldexp(W(1), std::numeric_limits<T>::digits - exponent));
}

// splitmix64 (Steele et al. 2014)
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <class T> T input(const Function& f, std::uint64_t index, bool all) {
  T x;
  if constexpr (sizeof(T) == 4) {
    const auto bits = static_cast<std::uint32_t>(all ? index : mix(index));
    std::memcpy(&x, &bits, sizeof x);
  } else {
    const std::uint64_t bits = mix(index);
    std::memcpy(&x, &bits, sizeof x);
    if (index & 1) x = (static_cast<double>(bits >> 11) * 0x1p-52 - 1) * f.edge;
  }
  return x;
}

template <class T> struct Worst {
  double ulp = 0;
  T at = 0;
  std::uint64_t hash = 0;
};

template <class T, class W>
void sweep_chunk(const Function& f, const std::vector<Tier>& tiers, std::uint64_t first, std::uint64_t count, bool all,
                 std::vector<Worst<T>>& worst) {
  std::vector<T> x(count), y(count);
  std::vector<W> wanted(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    x[i] = input<T>(f, first + i, all);
    wanted[i] = exact<W>(f.which, static_cast<W>(x[i]));
  }
  for (std::size_t t = 0; t < tiers.size(); ++t) {
    tiers[t].table<T>().math[static_cast<int>(f.which)](x.data(), y.data(), static_cast<std::int64_t>(count));
    std::uint64_t hash = first;
    for (std::uint64_t i = 0; i < count; ++i) {
      const double error = ulps<T, W>(y[i], wanted[i]);
      if (error > worst[t].ulp) worst[t].ulp = error, worst[t].at = x[i];
      std::uint64_t bits = 0;
      std::memcpy(&bits, &y[i], sizeof(T));
      hash = (hash ^ (std::isnan(y[i]) ? 0x7ff : bits)) * 0x100000001b3u;
      hash ^= hash >> 29;
    }
    worst[t].hash += mix(hash);  // a sum: the threads' order does not count
  }
}

template <class T, class W>
bool sweep(const Function& f, const std::vector<Tier>& tiers, std::uint64_t samples, bool all, unsigned threads) {
  constexpr std::uint64_t kChunk = 1 << 14;
  std::vector<Worst<T>> worst(tiers.size());
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex;
  const auto work = [&] {
    std::vector<Worst<T>> mine(tiers.size());
    for (std::uint64_t i; (i = next.fetch_add(kChunk)) < samples;) {
      sweep_chunk<T, W>(f, tiers, i, std::min(kChunk, samples - i), all, mine);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    for (std::size_t t = 0; t < tiers.size(); ++t) {
      worst[t].hash += mine[t].hash;
      if (mine[t].ulp > worst[t].ulp) worst[t].ulp = mine[t].ulp, worst[t].at = mine[t].at;
    }
  };
  std::vector<std::thread> pool;
  for (unsigned i = 0; i < threads; ++i) pool.emplace_back(work);
  for (std::thread& thread : pool) thread.join();

  bool good = true;
  std::uint64_t hash = 0;
  for (std::size_t t = 0; t < tiers.size(); ++t) {
    bool fine = true;
    if (tiers[t].has_fma) {
      fine = worst[t].ulp <= f.limit && (hash == 0 || hash == worst[t].hash);
      hash = worst[t].hash;
    }
    std::printf("%-8s %-6s %-8s max %.4f ULP at %.17g (%a)  hash %016llx%s\n", f.name,
                sizeof(T) == 4 ? "float" : "double", tiers[t].name, worst[t].ulp, static_cast<double>(worst[t].at),
                static_cast<double>(worst[t].at), static_cast<unsigned long long>(worst[t].hash),
                fine ? "" : "  FAILED");
    good = good && fine;
  }
  std::fflush(stdout);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  bool all = false;
  std::uint64_t samples = 10'000'000;
  unsigned threads = std::max(1u, std::min(2u, std::thread::hardware_concurrency()));
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--all") all = true;
    else if (word == "--samples" && i + 1 < argc) samples = std::strtoull(argv[++i], nullptr, 10);
    else if (word == "--threads" && i + 1 < argc) threads = static_cast<unsigned>(std::max(1, std::atoi(argv[++i])));
    else names.push_back(word);
  }
  const std::vector<Tier> tiers = supported_tiers();
  bool good = true;
  for (const Function& f : kFunctions) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted = wanted || name == f.name;
    if (!wanted) continue;
    good = sweep<float, double>(f, tiers, all ? std::uint64_t{1} << 32 : samples, all, threads) && good;
    good = sweep<double, long double>(f, tiers, samples, false, threads) && good;
  }
  return good ? 0 : 1;
}
