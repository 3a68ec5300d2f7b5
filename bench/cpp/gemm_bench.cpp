// Kernels of the tier in use, one thread: matrix products in all forms, activations, optimizer updates.
//
// BPCORE_ISA picks the tier. Products report GFLOP/s, the rest ns per element of arrays that stay in cache.
// `fma_peak` is the machine's limit for that tier; compare fractions, since the clock drifts. A product is checked
// against a few elements computed one by one before it is timed.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "kernels/table.h"
#include "train/optimizer.h"

namespace {

using bp::kernels;

template <class T> class Array {  // 64-byte aligned, small integers inside
 public:
  explicit Array(std::int64_t n)
      : data_(static_cast<T*>(std::aligned_alloc(64, static_cast<std::size_t>(n * 8 + 127) / 64 * 64))) {
    for (std::int64_t i = 0; i < n; ++i) data_[i] = static_cast<T>(i * 7 % 5 - 2);
  }
  ~Array() { std::free(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

template <class T> bool right(const bp::Matmul<T>& p) {
  for (std::int64_t s = 0; s < 16; ++s) {
    const std::int64_t i = s * 7919 % p.m, j = s * 104729 % p.n;
    T sum = 0;
    for (std::int64_t k = 0; k < p.k; ++k) {
      const T x = p.a_transposed ? p.a[k * p.lda + i] : p.a[i * p.lda + k];
      const T y = p.b_transposed ? p.b[j * p.ldb + k] : p.b[k * p.ldb + j];
      sum += x * y;
    }
    if (p.c[i * p.ldc + j] != sum) return false;
  }
  return true;
}

template <class T>
void product(benchmark::State& state, bool ta, bool tb, std::int64_t m, std::int64_t k, std::int64_t n) {
  const Array<T> a(m * k), b(k * n), c(m * n);
  bp::Matmul<T> p{};
  p.m = m, p.n = n, p.k = k;
  p.a = a.get(), p.lda = ta ? m : k, p.a_transposed = ta;
  p.b = b.get(), p.ldb = tb ? k : n, p.b_transposed = tb;
  p.c = c.get(), p.ldc = n;
  const Array<T> scratch(kernels<T>().products[0].scratch(p) + 1);
  p.scratch = scratch.get();
  kernels<T>().products[0].run(p);
  if (!right(p)) return state.SkipWithError("wrong result");
  for (auto _ : state) {
    kernels<T>().products[0].run(p);
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void fma_peak(benchmark::State& state) {
  std::int64_t flops = 0;
  float sum = 0;
  for (auto _ : state) {
    flops = kernels<float>().fma_chains(100000, 0.5f, &sum);
    benchmark::DoNotOptimize(sum);
  }
  state.counters["GFLOP/s"] =
      benchmark::Counter(static_cast<double>(flops) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

constexpr std::int64_t kElements = 16384;

void activation(benchmark::State& state, bp::Activation f) {
  const Array<float> z(kElements), a(kElements);
  for (auto _ : state) {
    kernels<float>().activate[static_cast<int>(f)](z.get(), a.get(), kElements, 1.0f);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kElements);
}

void optimizer(benchmark::State& state, bp::Optimizer kind) {
  const Array<float> w(kElements), g(kElements), s0(kElements), s1(kElements), s2(kElements);
  for (std::int64_t i = 0; i < kElements; ++i) s0.get()[i] = s1.get()[i] = s2.get()[i] = 1e-3f;
  const bp::OptimizerConfig config = bp::default_config(kind);
  const bp::UpdateArgs<float> args{1,
                                   kElements,
                                   kElements,
                                   w.get(),
                                   g.get(),
                                   {s0.get(), s1.get(), s2.get()},
                                   bp::hyper_at<float>(config, config.learning_rate, 10)};
  for (auto _ : state) {
    kernels<float>().update[static_cast<int>(kind)](args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kElements);
}

const std::int64_t kShapes[][3] = {  // m, k, n: layers of small and medium networks, then squares
    {32, 784, 128},     {128, 512, 512}, {256, 2048, 2048}, {64, 64, 64},   {784, 32, 128},
    {10, 784, 30},      {32, 128, 10},   {64, 2048, 10},    {4096, 64, 64}, {512, 512, 512},
    {2048, 2048, 2048}, {1, 64, 64},     {32, 13, 32}};

template <class T> void register_products(const std::string& type) {
  const char* forms[] = {"x_w", "xt_delta", "delta_wt"};
  for (int form = 0; form < 3; ++form) {
    for (const auto& s : kShapes) {
      const std::string name = type + "/" + forms[form] + "/" + std::to_string(s[0]) + "x" + std::to_string(s[1]) +
                               "x" + std::to_string(s[2]);
      benchmark::RegisterBenchmark(name.c_str(), [form, s](benchmark::State& state) {
        product<T>(state, form == 1, form == 2, s[0], s[1], s[2]);
      });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* wanted = std::getenv("BPCORE_ISA");
  if (bp::select_tier(wanted == nullptr ? "" : wanted) == nullptr) return 1;
  benchmark::AddCustomContext("tier", bp::tier_name());
  benchmark::RegisterBenchmark("fma_peak", fma_peak);
  register_products<float>("float");
  register_products<double>("double");
  for (int f = 0; f < static_cast<int>(bp::Activation::kCount); ++f) {
    const auto kind = static_cast<bp::Activation>(f);
    const std::string name = std::string("activate/") + bp::activation_name(kind);
    benchmark::RegisterBenchmark(name.c_str(), [kind](benchmark::State& state) { activation(state, kind); });
  }
  for (int k = 0; k < static_cast<int>(bp::Optimizer::kCount); ++k) {
    const auto kind = static_cast<bp::Optimizer>(k);
    const std::string name = std::string("update/") + bp::optimizer_name(kind);
    benchmark::RegisterBenchmark(name.c_str(), [kind](benchmark::State& state) { optimizer(state, kind); });
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
