// C = op(A) op(B) with operands rounded to bfloat16, on tiles of 16 x 16 sums; struct Matmul in table.h is the
// contract.
//
// Compiled once, for CPUs with AMX-BF16, which have AVX512_BF16 too. An element's chain takes 32 terms at once, from
// a multiple of 32 on: the instruction sums their products, the even terms and the odd ones apart from zero, and adds
// both to the element. What is missing of the last 32 is zero. So bits do not depend on tiles, blocks or threads.
//
// Both operands are converted into tiles of 16 lines of 16 pairs, which follow each other in memory along k: A for a
// block of its rows at once, B by panels, which all rows of the block use. Four tiles of C are in work: each step of k
// loads two tiles of A and two of B (64 lines) for four products (64 cycles).
#include "kernels/gemm_pairs.h"
#include "kernels/gemm_sweep.h"

namespace bp::BP_TIER {

namespace {

constexpr std::int64_t kSide = 16, kTerms = 2 * kSide, kTilePairs = kSide * kSide;
// A block of A's rows stays in L2 (2 MB) beside a panel of B: at most 1 MB and 256 KB. Narrower panels would read B's
// rows in pieces so short that finding their pages takes the time (256 x 2048 x 1024, without the products: 2 strips
// 613 us, 4 463, 16 410).
constexpr std::int64_t kBlockRows = 256, kBlockTerms = 2048, kPanelStrips = 4;

static_assert(Vec<Pair>::kWidth == kSide);

// Tiles 0 to 3 are sums, 4 and 5 of A, 6 and 7 of B; all are whole.
struct alignas(64) Shapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes_of_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {kSide, kSide, kSide, kSide, kSide, kSide, kSide, kSide};
};
constexpr Shapes kShapes;

// The compiler does not know that loads of tiles read memory.
BP_INLINE void memory_is_written() { asm volatile("" ::: "memory"); }

// An operand in single precision: `count` rows of A or columns of B.
struct Operand {
  const float* x;
  std::int64_t ld, count;
};

// One tile of 16 rows or columns by 32 terms, what is missing filled up by zeros. A line of a tile is one row's pairs
// (of A) or one pair of each column (of B): where memory does not run along k, or does, the tile is turned.
template <bool kAlong, bool kTurns>
void lay_tile(const float* x, std::int64_t ld, std::int64_t count, std::int64_t depth, Pair* tile) {
  Vec<Pair> r[kSide];
  if constexpr (kAlong) {
    BP_UNROLL(16)
    for (int i = 0; i < kSide; ++i) r[i] = i < count ? row_of_pairs(x + i * ld, depth) : Vec<Pair>(Pair(0));
  } else {
    BP_UNROLL(16)
    for (int i = 0; i < kSide; ++i) {
      const float* const even = x + 2 * i * ld;
      const std::int64_t first = 2 * i < depth ? count : 0, second = 2 * i + 1 < depth ? count : 0;
      r[i] = pairs_across(load_n(first == 0 ? x : even, first), load_n(second == 0 ? x : even + ld, second));
    }
  }
  if constexpr (kTurns) transpose_block<Pair>(r);
  BP_UNROLL(16)
  for (int i = 0; i < kSide; ++i) store(tile + i * kSide, r[i]);
}

// Strips of 16 rows or columns from number `first` on, and terms k .. k + depth - 1: each strip's tiles follow each
// other. Read in the order in which memory lies.
template <bool kAlong, bool kTurns>
void lay(const Operand& o, std::int64_t first, std::int64_t strips, std::int64_t k, std::int64_t depth, Pair* tiles) {
  const std::int64_t steps = ceil_div(depth, kTerms);
  const auto lay_one = [&](std::int64_t strip, std::int64_t step) {
    const std::int64_t i = first + strip * kSide, at = k + step * kTerms;
    const float* const x = kAlong ? o.x + i * o.ld + at : o.x + at * o.ld + i;
    lay_tile<kAlong, kTurns>(x, o.ld, at_most(o.count - i, kSide), at_most(depth - step * kTerms, kTerms),
                             tiles + (strip * steps + step) * kTilePairs);
  };
  if constexpr (kAlong) {
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      for (std::int64_t step = 0; step < steps; ++step) lay_one(strip, step);
    }
  } else {
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::int64_t strip = 0; strip < strips; ++strip) lay_one(strip, step);
    }
  }
}

void lay_a(const Matmul<float>& p, std::int64_t first, std::int64_t strips, std::int64_t k, std::int64_t depth,
           Pair* tiles) {
  const Operand a{p.a, p.lda, p.m};
  p.a_transposed ? lay<false, true>(a, first, strips, k, depth, tiles)
                 : lay<true, false>(a, first, strips, k, depth, tiles);
}
void lay_b(const Matmul<float>& p, std::int64_t first, std::int64_t strips, std::int64_t k, std::int64_t depth,
           Pair* tiles) {
  const Operand b{p.b, p.ldb, p.n};
  p.b_transposed ? lay<true, true>(b, first, strips, k, depth, tiles)
                 : lay<false, false>(b, first, strips, k, depth, tiles);
}

// ---- sums -----------------------------------------------------------------------------------------------------------

// f(number of a tile, its row and column among kRows x kColumns tiles), as constants.
template <int kRows, int kColumns, class F> BP_INLINE void each_sum(F f) {
  f.template operator()<0>(0, 0);
  if constexpr (kColumns == 2) f.template operator()<1>(0, 1);
  if constexpr (kRows == 2) f.template operator()<2>(1, 0);
  if constexpr (kRows == 2 && kColumns == 2) f.template operator()<3>(1, 1);
}
template <int kTile> BP_INLINE void zero_sum() {
  if constexpr (kTile == 0) _tile_zero(0);
  if constexpr (kTile == 1) _tile_zero(1);
  if constexpr (kTile == 2) _tile_zero(2);
  if constexpr (kTile == 3) _tile_zero(3);
}
template <int kTile> BP_INLINE void load_sum(const float* from, std::int64_t stride) {
  if constexpr (kTile == 0) _tile_loadd(0, from, stride);
  if constexpr (kTile == 1) _tile_loadd(1, from, stride);
  if constexpr (kTile == 2) _tile_loadd(2, from, stride);
  if constexpr (kTile == 3) _tile_loadd(3, from, stride);
}
template <int kTile> BP_INLINE void store_sum(float* to, std::int64_t stride) {
  if constexpr (kTile == 0) _tile_stored(0, to, stride);
  if constexpr (kTile == 1) _tile_stored(1, to, stride);
  if constexpr (kTile == 2) _tile_stored(2, to, stride);
  if constexpr (kTile == 3) _tile_stored(3, to, stride);
}

// `steps` tiles of two strips of A and of B, which are `depth` tiles apart.
template <int kRows, int kColumns>
BP_INLINE void add_products(const Pair* a, const Pair* b, std::int64_t steps, std::int64_t strip) {
  for (std::int64_t step = 0; step < steps; ++step, a += kTilePairs, b += kTilePairs) {
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kColumns == 2) {
      _tile_loadd(7, b + strip, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kRows == 2) {
      _tile_loadd(5, a + strip, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kColumns == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

// Where sums begin and go: rows and columns of C from c on, of which `rows` and `columns` are there.
struct Target {
  float* c;
  std::int64_t ldc, rows, columns;
  const float* bias;  // whole tiles of it; null: 0, or C's own
  bool goes_on, add;
  float rate;
};

template <int kRows, int kColumns>
void multiply_tiles(const Pair* a, const Pair* b, std::int64_t steps, std::int64_t strip, const Target& t) {
  alignas(64) float kept[4][kTilePairs];
  const auto rows_of = [&](int row) { return at_most(t.rows - row * kSide, kSide); };
  const auto columns_of = [&](int column) { return at_most(t.columns - column * kSide, kSide); };
  const auto place = [&](int row, int column) { return t.c + row * kSide * t.ldc + column * kSide; };
  const bool whole = t.rows >= kRows * kSide && t.columns >= kColumns * kSide;
  memory_is_written();
  each_sum<kRows, kColumns>([&]<int kTile>(int row, int column) {
    if (t.bias != nullptr) return load_sum<kTile>(t.bias + column * kSide, 0);
    if (!t.goes_on) return zero_sum<kTile>();
    if (whole) return load_sum<kTile>(place(row, column), t.ldc * 4);
    for (std::int64_t i = 0; i < rows_of(row); ++i) {
      store(kept[kTile] + i * kSide, load_n(place(row, column) + i * t.ldc, columns_of(column)));
    }
    memory_is_written();
    load_sum<kTile>(kept[kTile], 64);
  });
  add_products<kRows, kColumns>(a, b, steps, strip);
  each_sum<kRows, kColumns>([&]<int kTile>(int row, int column) {
    if (whole && !t.add) return store_sum<kTile>(place(row, column), t.ldc * 4);
    store_sum<kTile>(kept[kTile], 64);
    for (std::int64_t i = 0; i < rows_of(row); ++i) {
      float* const to = place(row, column) + i * t.ldc;
      Vec<float> sum = load(kept[kTile] + i * kSide);
      if (t.add) {
        const Vec<float> old = load_n(to, columns_of(column));
        sum = t.rate == 0 ? old + sum : fnma(Vec<float>(t.rate), sum, old);
      }
      store_n(to, sum, columns_of(column));
    }
  });
}

void multiply_strips(int row_strips, int column_strips, const Pair* a, const Pair* b, std::int64_t steps,
                     const Target& t) {
  const std::int64_t strip = steps * kTilePairs;
  if (row_strips == 2) {
    column_strips == 2 ? multiply_tiles<2, 2>(a, b, steps, strip, t) : multiply_tiles<2, 1>(a, b, steps, strip, t);
  } else {
    column_strips == 2 ? multiply_tiles<1, 2>(a, b, steps, strip, t) : multiply_tiles<1, 1>(a, b, steps, strip, t);
  }
}

// ---- blocks ---------------------------------------------------------------------------------------------------------

struct TilePlan {
  std::int64_t depth, height;  // of a block: terms (whole chunks, if there are several), rows
  std::int64_t b_at, bias_at, totals_at, scratch;
};

std::int64_t deepest(std::int64_t k, std::int64_t chunk, bool whole_k) {
  if (chunk > 0 && chunk < k) return chunk;
  return whole_k ? k : at_most(k, kBlockTerms);
}

TilePlan make_tile_plan(std::int64_t m, std::int64_t n, std::int64_t depth, bool totals) {
  TilePlan plan{};
  plan.depth = depth;
  plan.height = at_most(m, kBlockRows);
  const std::int64_t pairs = round_up(depth, kTerms) / 2;
  plan.b_at = round_up(plan.height, kSide) * pairs;
  plan.bias_at = plan.b_at + at_most(round_up(n, kSide), kPanelStrips * kSide) * pairs;
  plan.totals_at = plan.bias_at + round_up(n, 2 * kSide);
  plan.scratch = plan.totals_at + (totals ? m * n : 0);
  return plan;
}

TilePlan plan_of(const Matmul<float>& p) {
  // What is added to has no room for a chain between blocks, nor for sums of chunks.
  const std::int64_t depth = deepest(p.k, p.chunk, p.rate != 0);
  return make_tile_plan(p.m, p.n, depth, p.add && p.rate == 0 && depth < p.k);
}

void multiply_block(const Matmul<float>& p, const TilePlan& plan, std::int64_t row, std::int64_t k, const float* bias) {
  Pair* const a = reinterpret_cast<Pair*>(p.scratch);
  Pair* const b = a + plan.b_at;
  const std::int64_t depth = at_most(p.k - k, plan.depth), steps = ceil_div(depth, kTerms), strip = steps * kTilePairs;
  const std::int64_t rows = at_most(p.m - row, plan.height);
  lay_a(p, row, ceil_div(rows, kSide), k, depth, a);
  const bool chunks = p.chunk > 0 && p.chunk < p.k;
  for (std::int64_t panel = 0; panel < p.n; panel += kPanelStrips * kSide) {
    const std::int64_t columns = at_most(p.n - panel, kPanelStrips * kSide);
    lay_b(p, panel, ceil_div(columns, kSide), k, depth, b);
    for (std::int64_t j = 0; j < columns; j += 2 * kSide) {
      for (std::int64_t i = 0; i < rows; i += 2 * kSide) {
        Target t{};
        t.c = p.c + (row + i) * p.ldc + panel + j, t.ldc = p.ldc;
        t.rows = rows - i, t.columns = columns - j;
        t.bias = bias == nullptr || k > 0 ? nullptr : bias + panel + j;
        t.goes_on = k > 0 ? !chunks : p.goes_on;
        t.add = p.add || (chunks && k > 0), t.rate = p.rate;
        multiply_strips(t.rows > kSide ? 2 : 1, t.columns > kSide ? 2 : 1, a + i / kSide * strip, b + j / kSide * strip,
                        steps, t);
      }
    }
  }
}

void multiply(const Matmul<float>& p, const TilePlan& plan) {
  float* bias = nullptr;
  if (p.bias != nullptr) {
    bias = p.scratch + plan.bias_at;
    for (std::int64_t j = 0; j < p.n; j += kSide) store(bias + j, load_n(p.bias + j, at_most(p.n - j, kSide)));
  }
  _tile_loadconfig(&kShapes);
  for (std::int64_t row = 0; row < p.m; row += plan.height) {
    std::int64_t k = 0;
    do {  // once for a sum of no terms
      multiply_block(p, plan, row, k, bias);
      k += plan.depth;
    } while (k < p.k);
  }
  _tile_release();
}

}  // namespace

void matmul(const Matmul<float>& p) {
  if (p.m <= 0 || p.n <= 0) return;
  const TilePlan plan = plan_of(p);
  if (!p.add || p.rate != 0 || plan.depth >= p.k) return multiply(p, plan);
  multiply_apart<float>(p, p.scratch + plan.totals_at, [&](const Matmul<float>& apart) { multiply(apart, plan); });
}

std::int64_t matmul_scratch(const Matmul<float>& p) { return p.m <= 0 || p.n <= 0 ? 0 : plan_of(p).scratch; }

// As above, with the largest depth that it may choose for fewer terms.
std::int64_t matmul_most_scratch(const Matmul<float>& p) {
  if (p.m <= 0 || p.n <= 0) return 0;
  const std::int64_t depth = at_most(p.k, larger(p.rate != 0 ? p.k : kBlockTerms, p.chunk));
  return make_tile_plan(p.m, p.n, depth, p.add && p.rate == 0).scratch;
}

}  // namespace bp::BP_TIER
