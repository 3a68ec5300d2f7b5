// C = op(A) op(B) with operands rounded to bfloat16 and sums in single precision; struct Matmul in table.h is the contract.
//
// Compiled once, for CPUs with AVX512_BF16. An element is one chain of two-product steps over the pairs (k, k + 1),
// k even, in increasing order: whatever the tile, block or thread. A is converted as a whole, B panel by panel.
#include "kernels/gemm_pairs.h"
#include "kernels/gemm_sweep.h"

namespace bp::BP_TIER {

namespace {

struct PairPlan {
  std::int64_t pairs, lda;            // steps of k; row distance of A in pairs
  std::int64_t depth, width, height;  // block sizes along the pairs, n, m
  std::int64_t b_at, totals_at, scratch;
};

PairPlan make_pair_plan(const Matmul<float>& p) {
  constexpr std::int64_t kWidth = Vec<Pair>::kWidth, kBytes = sizeof(Pair), kStep = 2 * kWidth;
  PairPlan plan{};
  plan.pairs = ceil_div(p.k, 2);
  const std::int64_t rows = p.a_transposed ? plan.pairs : p.m;
  plan.lda = round_up(p.a_transposed ? p.m : plan.pairs, kWidth);
  if (aliases<Pair>(2 * plan.lda)) plan.lda += kWidth;
  const std::int64_t blocks = ceil_div(plan.pairs, kBlockDepth);
  plan.depth = blocks == 0 ? 1 : ceil_div(plan.pairs, blocks);
  if (p.chunk > 0) plan.depth = round_up(plan.depth, p.chunk / 2);
  plan.depth = plan.pairs == 0 ? 1 : at_most(plan.depth, plan.pairs);
  plan.width = block_width(p.m, plan.pairs, p.n, plan.depth, kBytes, kStep);
  plan.height = at_most(p.m, kBlockABytes / (plan.depth * kBytes) + max_tile_rows(2));
  plan.b_at = rows * plan.lda;
  plan.totals_at = plan.b_at + plan.depth * plan.width;
  plan.scratch = plan.totals_at + (p.add ? p.m * p.n : 0);
  return plan;
}

void pack_panels(const Matmul<float>& p, std::int64_t k, std::int64_t steps, std::int64_t j, std::int64_t n,
                 std::int64_t max_vecs, Pair* to) {
  constexpr std::int64_t kWidth = Vec<Pair>::kWidth;
  const Split cols(vectors<Pair>(n), max_vecs);
  for (std::int64_t x = 0, v = 0; x < cols.parts; v += cols.of(x), ++x) {
    const std::int64_t vecs = cols.of(x), at = j + v * kWidth, width = at_most(n - v * kWidth, vecs * kWidth);
    Pair* panel = to + v * kWidth * ceil_div(steps, 2);
    if (p.b_transposed) {
      pair_transposed(p.b + at * p.ldb + k, p.ldb, steps, width, vecs, panel);
    } else {
      pair_columns(p.b + k * p.ldb + at, p.ldb, steps, width, panel, vecs * kWidth);
    }
  }
}

void multiply(const Matmul<float>& p, const PairPlan& plan) {
  Pair* const a = reinterpret_cast<Pair*>(p.scratch);
  Pair* const panels = a + plan.b_at;
  if (p.a_transposed) {
    pair_columns(p.a, p.lda, p.k, p.m, a, plan.lda);
  } else {
    pair_rows(p.a, p.lda, p.m, p.k, a, plan.lda);
  }
  Region<Pair> r{};
  r.lda = plan.lda, r.a_contiguous = p.a_transposed;
  r.b = panels, r.b_packed = true;
  r.ldc = p.ldc;
  r.chunk = p.chunk / 2;
  r.max_vecs = widest_tile(p.m);
  for (std::int64_t j = 0; j < p.n; j += plan.width) {
    r.n = at_most(p.n - j, plan.width);
    for (std::int64_t step = 0; step == 0 || step < plan.pairs; step += plan.depth) {
      r.k = at_most(plan.pairs - step, plan.depth);
      pack_panels(p, 2 * step, at_most(p.k - 2 * step, 2 * r.k), j, r.n, r.max_vecs, panels);
      r.add = step > 0 && p.chunk > 0;  // a block is whole chunks
      for (std::int64_t i = 0; i < p.m; i += plan.height) {
        r.m = at_most(p.m - i, plan.height);
        r.a = a + (p.a_transposed ? step * plan.lda + i : i * plan.lda + step);
        r.max_rows = tallest_tile<Pair>(r);
        r.c = p.c + i * p.ldc + j;
        if (step == 0) {
          r.start = p.bias == nullptr ? nullptr : p.bias + j;
          r.start_stride = 0;
        } else if (p.chunk == 0) {
          r.start = r.c, r.start_stride = p.ldc;
        }
        sweep<Pair>(r);
      }
    }
  }
}

}  // namespace

void matmul(const Matmul<float>& p) {
  if (p.m <= 0 || p.n <= 0) return;
  const PairPlan plan = make_pair_plan(p);
  if (!p.add) return multiply(p, plan);
  Matmul<float> apart = p;
  apart.c = p.scratch + plan.totals_at, apart.ldc = p.n, apart.add = false;
  multiply(apart, plan);
  add_matrix<float>(apart.c, p.c, p.ldc, p.m, p.n);
}

std::int64_t matmul_scratch(const Matmul<float>& p) { return p.m <= 0 || p.n <= 0 ? 0 : make_pair_plan(p).scratch; }

}  // namespace bp::BP_TIER
