// Does the scratch that is asked for once hold every product that may then come? For random sizes, flags and strides,
// of both types and each tier: the bound is enough for any product that is no larger, and grows with each size. Then
// dense layers: by rows, by columns, and the tiles of their gradients. All of it for the caches of this processor and
// for others. usage: scratch [count]; ends with 1 at the first that does not fit.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "kernels/caches.h"
#include "ops/product.h"
#include "plan/teamwork.h"

namespace {

std::mt19937 numbers(1);
std::int64_t number(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(numbers);
}
// Small and large sizes equally often.
std::int64_t size(std::int64_t most) { return number(1, std::min(most, std::int64_t{1} << number(0, 14))); }
bool toss() { return number(0, 1) == 1; }

long shown(std::int64_t n) { return static_cast<long>(n); }

template <class T> bool report(const char* what, const bp::Matmul<T>& p, std::int64_t need, std::int64_t have) {
  std::printf("%s: %s, %zu bytes, %ld x %ld x %ld, lda %ld, ldb %ld, %s%s%s%s chunk %ld: need %ld, not %ld\n", what,
              bp::tier_name(), sizeof(T), shown(p.m), shown(p.k), shown(p.n), shown(p.lda), shown(p.ldb),
              p.a_transposed ? "A^T " : "", p.b_transposed ? "B^T " : "", p.add ? "added " : "",
              p.rate != 0 ? "in place " : "", shown(p.chunk), shown(need), shown(have));
  return false;
}

template <class T> bool bound_holds(const bp::Products<T>& products) {
  bp::Matmul<T> p{};
  p.m = size(20000), p.n = size(4000), p.k = size(4000);
  p.a_transposed = toss(), p.b_transposed = !p.a_transposed && toss();
  p.add = toss();
  if (p.a_transposed) p.chunk = toss() ? 1024 : 8 * number(1, 128);
  if (p.a_transposed && p.add && toss()) p.rate = 1, p.k = std::min(p.k, p.chunk);
  const std::int64_t have = products.most_scratch(p);
  for (int i = 0; i < 40; ++i) {
    bp::Matmul<T> q = p;
    q.m = number(1, p.m), q.n = number(1, p.n), q.k = number(1, p.k);
    if (toss()) q.m = toss() ? p.m : std::max<std::int64_t>(p.m - number(0, 16), 1);
    if (toss()) q.n = toss() ? p.n : std::max<std::int64_t>(p.n - number(0, 16), 1);
    if (toss()) q.k = toss() ? p.k : std::max<std::int64_t>(p.k - number(0, 16), 1);
    q.lda = toss() ? q.a_transposed ? q.m : q.k : 512 * number(1, 8);
    q.ldb = toss() ? q.b_transposed ? q.k : q.n : 512 * number(1, 8);
    if (p.rate == 0 && toss()) q.add = false;
    const std::int64_t need = products.scratch(q);
    if (need > have) return report("bound", q, need, have);
    q.add = p.add;
    if (products.most_scratch(q) > have) return report("a smaller product's bound", q, products.most_scratch(q), have);
  }
  return true;
}

struct Layer {
  std::int64_t in, out;
  bool transposed;
};

template <class T> bool layer_fits(const Layer& layer, std::int64_t capacity) {
  const bp::Shape kernel = layer.transposed ? bp::Shape{layer.out, layer.in} : bp::Shape{layer.in, layer.out};
  const bp::Product<T> product({layer.in}, kernel, true, layer.transposed, bp::Compute::kFull);
  const auto& products = bp::kernels<T>().products[0];
  const auto fits = [&](const char* what, std::int64_t have, const bp::Matmul<T>& p) {
    const std::int64_t need = products.scratch(p);
    return need <= have || report(what, p, need, have);
  };
  for (int threads = 1; threads <= 64; ++threads) {
    const std::int64_t rows = threads % 8 == 0 ? capacity : number(1, capacity);
    for (bool forward : {true, false}) {
      bp::Matmul<T> p{};
      p.m = rows, p.n = forward ? layer.out : layer.in, p.k = forward ? layer.in : layer.out;
      p.lda = p.k, p.ldb = kernel[1], p.b_transposed = forward == layer.transposed;
      p.add = !forward && toss();
      if (!fits("by rows or columns", product.scratch(capacity), p)) return false;
      p.n = bp::split_columns(p.n, static_cast<int>(number(0, threads - 1)), threads).count();
      if (!fits("by rows or columns", product.scratch(capacity), p)) return false;
    }
    const bp::Tile tile{{0, number(1, kernel[0])}, {0, number(1, kernel[1])}};
    bp::Matmul<T> p{};
    p.m = number(1, tile.rows.count()), p.n = tile.columns.count(), p.k = number(1, capacity);
    p.lda = layer.transposed ? layer.out : layer.in, p.ldb = layer.transposed ? layer.in : layer.out;
    p.a_transposed = true, p.chunk = bp::BatchChunks::kRows, p.add = toss();
    if (!fits("gradient", product.gradient_scratch(tile, capacity), p)) return false;
    p.k = std::min(p.k, bp::BatchChunks::kRows), p.add = true, p.rate = 1;
    if (!fits("descent", product.subtraction_scratch(tile, std::min(capacity, bp::BatchChunks::kRows)), p))
      return false;
  }
  return true;
}

// Blocks follow the caches, else all that is asked for others would be asked for these.
bool caches_count() {
  bp::Matmul<float> p{};
  p.m = 100, p.n = 2048, p.k = 2048, p.lda = p.k, p.ldb = p.n;
  const auto blocks = [&](std::int64_t l2) {
    bp::use_caches({0, l2});
    return bp::kernels<float>().products[0].scratch(p);
  };
  if (blocks(256 << 10) < blocks(4 << 20)) return true;
  std::puts("scratch does not follow the caches");
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 300;
  for (int i = 0; bp::supported_tier(i) != nullptr; ++i) {
    bp::select_tier(bp::supported_tier(i));
    if (!caches_count()) return 1;
    const auto& products = bp::kernels<float>().products;
    for (int k = 0; k < count; ++k) {
      const bool own = k % 3 == 0;
      bp::use_caches({own ? 0 : number(32, 64) << 10, own ? 0 : number(256, 4096) << 10});
      for (int product = 0; product < 10; ++product) {
        for (const auto& product_of : products) {
          if (product_of.run != nullptr && !bound_holds<float>(product_of)) return 1;
        }
        if (!bound_holds<double>(bp::kernels<double>().products[0])) return 1;
      }
      const Layer layer{number(1, 3300), number(1, 3300), toss()};
      const std::int64_t capacity = number(0, 3) == 0 ? number(1, 6000) : number(1, 600);
      if (!layer_fits<float>(layer, capacity) || !layer_fits<double>(layer, capacity)) return 1;
    }
  }
  std::puts("every product fits");
  return 0;
}
