#include "ops/team_matmul.h"

#include <algorithm>
#include <chrono>

#include "base/buffer.h"
#include "base/threads.h"

namespace bp {
namespace {

// Whole tiles a thread, where there are so many that a tile more or less is a small part of a share.
constexpr std::int64_t kManyTiles = 8;

template <class T> Matmul<T> part_of(const Matmul<T>& whole, int rank, int parts) {
  Matmul<T> part = whole;
  if (columns_pay(whole.k, whole.n)) {
    const Rows columns = split_columns(whole.n, rank, parts);
    part.n = columns.count();
    part.b += columns.begin * (whole.b_transposed ? whole.ldb : 1);
    part.c += columns.begin;
    if (whole.bias != nullptr) part.bias += columns.begin;
    return part;
  }
  const bool by_tiles = whole.a_transposed && whole.m >= kManyTiles * kTileRows * parts;
  const Rows rows = by_tiles ? split_at(kTileRows, whole.m, rank, parts) : split(whole.m, rank, parts);
  part.m = rows.count();
  part.a += rows.begin * (whole.a_transposed ? 1 : whole.lda);
  part.c += rows.begin * whole.ldc;
  return part;
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
    Matmul<T> part = part_of(product, team.rank, team.size);
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
