// C = op(A) op(B) with operands rounded to bfloat16 and sums in single precision; struct Matmul in table.h is the
// contract.
//
// Compiled once, for CPUs with AVX512_BF16. An element is one chain of two-product steps over the pairs (k, k + 1),
// k even, in increasing order: whatever the tile, block or thread. A is converted as a whole, B panel by panel.
#include "kernels/gemm_pairs.h"
#include "kernels/gemm_stream.h"

namespace bp::BP_TIER {

namespace {

struct PairPlan {
  std::int64_t pairs, lda;  // steps of k; row distance of A in pairs
  Blocks blocks;            // in pairs
  std::int64_t b_at, totals_at, scratch;
};

PairPlan make_pair_plan(const Matmul<float>& p) {
  constexpr std::int64_t kWidth = Vec<Pair>::kWidth;
  PairPlan plan{};
  plan.pairs = ceil_div(p.k, 2);
  const std::int64_t rows = p.a_transposed ? plan.pairs : p.m;
  plan.lda = round_up(p.a_transposed ? p.m : plan.pairs, kWidth);
  if (aliases<Pair>(2 * plan.lda)) plan.lda += kWidth;
  plan.blocks = make_blocks<Pair>(p.m, plan.pairs, p.n, p.chunk / 2, p.rate != 0);
  plan.b_at = rows * plan.lda;
  plan.totals_at = plan.b_at + plan.blocks.panels();
  plan.scratch = plan.totals_at + (p.add && p.rate == 0 ? p.m * p.n : 0);
  return plan;
}

void pack_panel(const Source<Pair>& b, Pair* panel) {
  if (b.transposed) {
    pair_transposed(b.b, b.ld, b.depth, b.n, panel);
  } else {
    pair_columns(b.b, b.ld, b.depth, b.n, panel, vectors<Pair>(b.n) * Vec<Pair>::kWidth);
  }
}

void multiply(const Matmul<float>& p, const PairPlan& plan) {
  Pair* const a = reinterpret_cast<Pair*>(p.scratch);
  if (p.a_transposed) {
    pair_columns(p.a, p.lda, p.k, p.m, a, plan.lda);
  } else {
    pair_rows(p.a, p.lda, p.m, p.k, a, plan.lda);
  }
  Region<Pair> r{};
  r.m = p.m, r.n = p.n, r.k = plan.pairs;
  r.lda = plan.lda, r.a_contiguous = p.a_transposed;
  r.start = p.goes_on ? p.c : p.bias, r.start_stride = p.goes_on ? p.ldc : 0;
  r.c = p.c, r.ldc = p.ldc;
  r.add = p.rate != 0, r.rate = p.rate, r.chunk = p.chunk / 2;
  r.max_vecs = widest_tile(p.m);
  const auto lay_a = [&](Region<Pair>& block, std::int64_t i, std::int64_t k) {
    block.a = a + (p.a_transposed ? k * plan.lda + i : i * plan.lda + k);
  };
  stream<Pair>(r, plan.blocks, {}, {p.b, p.ldb, p.k, p.n, p.b_transposed}, lay_a, pack_panel, a + plan.b_at);
}

}  // namespace

void matmul(const Matmul<float>& p) {
  if (p.m <= 0 || p.n <= 0) return;
  const PairPlan plan = make_pair_plan(p);
  if (!p.add || p.rate != 0) return multiply(p, plan);
  multiply_apart<float>(p, p.scratch + plan.totals_at, [&](const Matmul<float>& apart) { multiply(apart, plan); });
}

std::int64_t matmul_scratch(const Matmul<float>& p) { return p.m <= 0 || p.n <= 0 ? 0 : make_pair_plan(p).scratch; }

// As above, with the largest of what it chooses.
std::int64_t matmul_most_scratch(const Matmul<float>& p) {
  constexpr std::int64_t kWidth = Vec<Pair>::kWidth;
  if (p.m <= 0 || p.n <= 0) return 0;
  const std::int64_t pairs = ceil_div(p.k, 2), depth = most_depth<Pair>(pairs, p.chunk / 2, p.rate != 0);
  const std::int64_t a =
      p.a_transposed ? pairs * (round_up(p.m, kWidth) + kWidth) : p.m * (round_up(pairs, kWidth) + kWidth);
  return a + most_panels<Pair>(p.m, pairs, p.n, depth) + (p.add && p.rate == 0 ? p.m * p.n : 0);
}

}  // namespace bp::BP_TIER
