#include "ops/team_matmul.h"

#include <algorithm>
#include <chrono>

#include "base/threads.h"
#include "ops/product.h"

namespace bp {
namespace {

// Where one tile of a gradient more or less is a small part of a share, it is cut between tiles.
constexpr std::int64_t kManyTiles = 8;

// A B that is given transposed is read by rows of it, which are columns of C; of few rows of C each member would read
// all of B, for tiles that a part of them does not fill (m 32, k 128, n 784, a thread's half: 192 GFLOP/s by rows, 240
// by columns).
template <class T> void take_part(Matmul<T>& p, int rank, int parts) {
  if (columns_pay(p.k, p.n) || (p.b_transposed && p.n > p.m)) return take_columns(p, split_columns(p.n, rank, parts));
  const bool by_tiles = p.a_transposed && p.m >= kManyTiles * kTileRows * parts;
  take_rows(p, by_tiles ? split_at(kTileRows, p.m, rank, parts) : split(p.m, rank, parts));
}

// A plan owns its scratch from step to step; a product alone keeps it from call to call, so that it costs no more.
template <class T> T* scratch_of(std::int64_t size) {
  thread_local Buffer<T> scratch;
  if (scratch.size() < size) scratch = Buffer<T>(size);
  return scratch.data();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

template <class T> void team_matmul(const Products<T>& products, const Matmul<T>& product, int threads) {
  run_team(threads, [&](Team& team) {
    Matmul<T> part = product;
    take_part(part, team.rank, team.size);
    part.scratch = scratch_of<T>(products.scratch(part));
    products.run(part);
  });
}

template <class T> double fma_peak(int threads, double seconds) {
  constexpr std::int64_t kSteps = 100'000;  // 0.2 to 0.5 ms: long beside a barrier, short beside a time slice
  const auto begin = std::chrono::steady_clock::now();
  double best = 0;
  bool enough = false;  // set by the first member before a barrier, read by all after it
  run_team(threads, [&](Team& team) {
    for (;;) {
      team.barrier();
      if (enough) return;
      const auto start = std::chrono::steady_clock::now();
      team.barrier();  // nobody begins before the clock of the first member
      T sum;
      const std::int64_t flops = kernels<T>().fma_chains(kSteps, T(0.5), &sum);
      team.barrier();
      if (team.rank != 0) continue;
      best = std::max(best, static_cast<double>(flops) * team.size / seconds_since(start));
      enough = seconds_since(begin) >= seconds;
    }
  });
  return best;
}

template void team_matmul(const Products<float>&, const Matmul<float>&, int);
template void team_matmul(const Products<double>&, const Matmul<double>&, int);
template double fma_peak<float>(int, double);
template double fma_peak<double>(int, double);

}  // namespace bp
