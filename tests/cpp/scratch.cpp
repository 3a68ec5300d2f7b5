// Does the scratch that a dense layer asks for hold whatever it is then given? Random sizes, threads and batches, by rows and
// by columns; both dtypes and orientations, each tier. usage: scratch [count]; ends with 1 at the first that does not fit.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "kernels/table.h"
#include "ops/op.h"
#include "plan/inference.h"

namespace {

std::mt19937 numbers(1);
std::int64_t number(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(numbers);
}

struct Layer {
  std::int64_t in, out;
  bool transposed;
};

template <class T>
std::int64_t needed(const Layer& layer, std::int64_t rows, std::int64_t columns, bool forward, bool add) {
  bp::Matmul<T> p{};
  p.m = rows, p.n = columns, p.k = forward ? layer.in : layer.out;
  p.lda = p.k, p.ldb = layer.transposed ? layer.in : layer.out, p.ldc = forward ? layer.out : layer.in;
  p.b_transposed = forward == layer.transposed;
  p.add = add;
  return bp::kernels<T>().products[0].scratch(p);
}

template <class T> bool fits(const Layer& layer, std::int64_t capacity) {
  bp::NodeSpec<T> spec;
  spec.op = "dense", spec.mode = layer.transposed ? "transposed" : "";
  const bp::Shape kernel = layer.transposed ? bp::Shape{layer.out, layer.in} : bp::Shape{layer.in, layer.out};
  const auto op = bp::make_op<T>(spec, {{layer.in}}, {kernel});
  const std::int64_t most_rows = std::min(capacity, bp::kRowBlock), for_rows = op->scratch_size(most_rows);
  for (int k = 0; k < 64; ++k) {
    const std::int64_t rows = number(1, most_rows);
    const bool forward = k % 2 == 0, add = k % 4 == 1;
    const std::int64_t want = needed<T>(layer, rows, forward ? layer.out : layer.in, forward, add);
    if (want <= for_rows) continue;
    std::printf("%s, %zu bytes: %ld x %ld, %ld rows%s need %ld, not %ld\n", bp::tier_name(), sizeof(T),
                static_cast<long>(layer.in), static_cast<long>(layer.out), static_cast<long>(rows), add ? ", added," : "",
                static_cast<long>(want), static_cast<long>(for_rows));
    return false;
  }
  if (!bp::by_columns(op->partition(true))) return true;
  const std::int64_t have = op->columns_scratch(capacity);
  for (int threads = 1; threads <= 64; ++threads) {
    const std::int64_t rows = threads % 8 == 0 ? capacity : number(1, capacity);
    for (int rank : {0, threads / 2, threads - 1}) {
      for (bool forward : {true, false}) {
        const std::int64_t all = forward ? layer.out : layer.in;
        const std::int64_t columns = bp::split_columns(all, rank, threads).count();
        const bool add = !forward && number(0, 1) == 1;
        const std::int64_t want = columns == 0 ? 0 : needed<T>(layer, rows, columns, forward, add);
        if (want <= have) continue;
        std::printf("%s, %zu bytes: %d x %d%s, %d of %d rows, %d threads: %d columns need %ld, not %ld\n", bp::tier_name(),
                    sizeof(T), static_cast<int>(layer.in), static_cast<int>(layer.out),
                    layer.transposed ? " transposed" : "", static_cast<int>(rows), static_cast<int>(capacity), threads,
                    static_cast<int>(columns), static_cast<long>(want),
                    static_cast<long>(have));
        return false;
      }
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 300;
  for (int i = 0; bp::supported_tier(i) != nullptr; ++i) {
    bp::select_tier(bp::supported_tier(i));
    for (int k = 0; k < count; ++k) {
      const Layer layer{number(80, 3300), number(80, 3300), number(0, 1) == 1};
      const std::int64_t capacity = number(0, 3) == 0 ? number(1, 6000) : number(1, 600);
      if (!fits<float>(layer, capacity) || !fits<double>(layer, capacity)) return 1;
    }
  }
  std::puts("every product fits");
  return 0;
}
