// C = op(A) op(B) on one thread; the contract is at struct Matmul in table.h, the choices in gemm_plan.h.
//
// 2 m n k flops. Whatever is packed, transposed or blocked, an element is the same chain of FMAs: a later block of k
// starts from what the block before left in C.
#include "kernels/gemm_pack.h"
#include "kernels/gemm_plan.h"

namespace bp::BP_TIER {

// A product whose operands lie as the micro-kernel wants them, or in packed panels.
template <class T> struct Region {
  std::int64_t m, n, k;
  const T* a;
  std::int64_t lda;
  bool a_contiguous, a_packed;  // rows of A contiguous (A given transposed); panels of the tiles' heights
  const T* b;
  std::int64_t ldb;
  bool b_packed;
  const T* start;
  std::int64_t start_stride;
  T* c;
  std::int64_t ldc;
  bool add;
  std::int64_t chunk;
  std::int64_t max_rows, max_vecs;
};

template <class T> BP_INLINE std::int64_t vectors(std::int64_t n) { return ceil_div(n, Vec<T>::kWidth); }

template <class T> static void run_chunks(TileFn<T> tile, TileArgs<T> t, std::int64_t chunk, std::int64_t a_chunk) {
  for (std::int64_t left = t.k; left > 0; left -= chunk) {
    t.k = at_most(left, chunk);
    tile(t);
    t.a += a_chunk;
    t.b += chunk * t.ldb;
    t.add = true;
  }
}

template <class T>
BP_INLINE void run_tile(const Region<T>& r, std::int64_t i, std::int64_t rows, std::int64_t v, std::int64_t vecs,
                        std::int64_t all_vecs) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t j = v * kWidth;
  const bool contiguous = r.a_contiguous || r.a_packed;
  TileArgs<T> t;
  t.k = r.k;
  t.a = r.a_packed ? r.a + i * r.k : r.a + (r.a_contiguous ? i : i * r.lda);
  t.a_step = r.a_packed ? rows : r.lda;
  t.b = r.b_packed ? r.b + j * r.k : r.b + j;
  t.ldb = r.b_packed ? vecs * kWidth : r.ldb;
  t.start = r.start == nullptr ? nullptr : r.start + i * r.start_stride + j;
  t.start_stride = r.start_stride;
  t.c = r.c + i * r.ldc + j;
  t.ldc = r.ldc;
  t.tail = v + vecs == all_vecs ? r.n - (all_vecs - 1) * kWidth : kWidth;
  t.masked_b = !r.b_packed;
  t.add = r.add;
  const TileFn<T> tile = kTiles<T>.of[contiguous][vecs - 1][rows - 1];
  if (r.chunk > 0 && r.chunk < r.k) {
    run_chunks<T>(tile, t, r.chunk, r.chunk * (contiguous ? t.a_step : 1));
  } else {
    tile(t);
  }
}

// All tiles of a region. The operand that the inner loop runs over again and again is the one that stays in L1.
template <class T> static void sweep(const Region<T>& r) {
  const std::int64_t all_vecs = vectors<T>(r.n);
  const Split rows(r.m, r.max_rows), cols(all_vecs, r.max_vecs);
  if (r.k * r.n * static_cast<std::int64_t>(sizeof(T)) <= kL1Bytes) {
    for (std::int64_t y = 0, i = 0; y < rows.parts; i += rows.of(y), ++y) {
      for (std::int64_t x = 0, v = 0; x < cols.parts; v += cols.of(x), ++x) {
        run_tile<T>(r, i, rows.of(y), v, cols.of(x), all_vecs);
      }
    }
  } else {
    for (std::int64_t x = 0, v = 0; x < cols.parts; v += cols.of(x), ++x) {
      for (std::int64_t y = 0, i = 0; y < rows.parts; i += rows.of(y), ++y) {
        run_tile<T>(r, i, rows.of(y), v, cols.of(x), all_vecs);
      }
    }
  }
}

template <class T> static std::int64_t tallest_tile(const Region<T>& r) {
  const std::int64_t rows = max_tile_rows(static_cast<int>(at_most(r.max_vecs, vectors<T>(r.n))));
  const bool crowded = !r.a_contiguous && !r.a_packed && aliases<T>(r.lda) && r.m > kAliasRows;
  return crowded ? at_most(rows, kAliasRows) : rows;
}

template <class T> static Region<T> whole(const Matmul<T>& p) {
  Region<T> r{};
  r.m = p.m, r.n = p.n, r.k = p.k;
  r.a = p.a, r.lda = p.lda, r.a_contiguous = p.a_transposed;
  r.b = p.b, r.ldb = p.ldb;
  r.start = p.bias;
  r.c = p.c, r.ldc = p.ldc;
  r.add = p.add, r.chunk = p.chunk;
  r.max_vecs = widest_tile(p.m);
  return r;
}

// B where it lies. Tiers without masked loads get the last columns in a padded copy.
template <class T> static void direct(Region<T> r, T* scratch) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t edge = kMaskedLoads ? 0 : r.n % kWidth;
  if (edge != r.n || edge == 0) {
    Region<T> inner = r;
    inner.n -= edge;
    inner.max_rows = tallest_tile<T>(inner);
    sweep<T>(inner);
  }
  if (edge == 0) return;
  const std::int64_t at = r.n - edge;
  pack_b<T>(r.b + at, r.ldb, r.k, edge, 1, scratch);
  r.b = scratch, r.b_packed = true;
  if (r.start != nullptr) r.start += at;
  r.c += at;
  r.n = edge;
  r.max_rows = tallest_tile<T>(r);
  sweep<T>(r);
}

template <class T>
static void pack_block_of_b(const Matmul<T>& p, const Region<T>& r, std::int64_t k, std::int64_t j, T* to) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t all_vecs = vectors<T>(r.n);
  const Split cols(all_vecs, r.max_vecs);
  constexpr int kPairs = 4;
  for (std::int64_t x = 0, v = 0; x < cols.parts; v += cols.of(x), ++x) {
    if (!p.b_transposed && r.max_vecs == 2) {
      while (x + kPairs <= cols.parts && cols.of(x + kPairs - 1) == 2 && (v + 2 * kPairs) * kWidth <= r.n) {
        pack_b_pairs<T, kPairs>(p.b + k * p.ldb + j + v * kWidth, p.ldb, r.k, to + v * kWidth * r.k);
        x += kPairs, v += 2 * kPairs;
      }
      if (x == cols.parts) break;
    }
    const std::int64_t vecs = cols.of(x), at = j + v * kWidth, n = at_most(r.n - v * kWidth, vecs * kWidth);
    T* panel = to + v * kWidth * r.k;
    if (p.b_transposed) {
      pack_b_transposed<T>(p.b + at * p.ldb + k, p.ldb, r.k, n, vecs, panel);
    } else {
      pack_b<T>(p.b + k * p.ldb + at, p.ldb, r.k, n, vecs, panel);
    }
  }
}

template <class T> static void packed(const Matmul<T>& p, const Plan& plan) {
  Region<T> r = whole(p);
  T* const a_panels = p.scratch + plan.a_at;
  for (std::int64_t j = 0; j < p.n; j += plan.width) {
    r.n = at_most(p.n - j, plan.width);
    for (std::int64_t k = 0; k == 0 || k < p.k; k += plan.depth) {
      r.k = at_most(p.k - k, plan.depth);
      pack_block_of_b<T>(p, r, k, j, p.scratch);
      r.b = p.scratch, r.b_packed = true;
      for (std::int64_t i = 0; i < p.m; i += plan.height) {
        r.m = at_most(p.m - i, plan.height);
        r.a = p.a + (p.a_transposed ? k * p.lda + i : i * p.lda + k);
        r.a_packed = plan.pack_a;
        r.max_rows = tallest_tile<T>(r);
        if (plan.pack_a) {
          const Split rows(r.m, r.max_rows);
          for (std::int64_t y = 0, at = 0; y < rows.parts; at += rows.of(y), ++y) {
            const T* a = r.a + (p.a_transposed ? at : at * p.lda);
            pack_a<T>(a, p.lda, p.a_transposed, rows.of(y), r.k, a_panels + at * r.k);
          }
          r.a = a_panels;
        }
        r.c = p.c + i * p.ldc + j;
        if (k == 0) {
          r.start = p.bias == nullptr ? nullptr : p.bias + j;
          r.start_stride = 0;
        } else if (p.chunk > 0) {
          r.add = true;  // a block is whole chunks
        } else {
          r.start = r.c, r.start_stride = p.ldc;
        }
        sweep<T>(r);
      }
    }
    r.add = p.add;
  }
}

// y (m x n) = or += the transpose of x (n x m).
template <class T>
static void transpose_back(const T* x, std::int64_t ldx, T* y, std::int64_t ldy, std::int64_t m, std::int64_t n,
                           bool add) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  if (!add) {
    transpose_matrix<T>(x, ldx, y, ldy, n, m);
    return;
  }
  T block[kWidth * kWidth];
  for (std::int64_t j = 0; j < n; j += kWidth) {
    for (std::int64_t i = 0; i < m; i += kWidth) {
      const std::int64_t cols = at_most(n - j, kWidth), rows = at_most(m - i, kWidth);
      transpose_matrix<T>(x + j * ldx + i, ldx, block, kWidth, cols, rows);
      for (std::int64_t row = 0; row < rows; ++row) {
        T* at = y + (i + row) * ldy + j;
        store_n(at, load_n(at, cols) + load_n(block + row * kWidth, cols), cols);
      }
    }
  }
}

template <class T> static void swapped(const Matmul<T>& p, const Plan& plan) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  Region<T> r{};
  r.n = p.m, r.k = p.k;
  r.lda = p.ldb, r.a_contiguous = !p.b_transposed;
  r.max_vecs = widest_tile(p.n);
  r.ldc = round_up(p.m, kWidth);
  r.c = p.scratch + plan.a_at;
  r.chunk = p.chunk;
  if (p.a_transposed && (kMaskedLoads || p.m % kWidth == 0)) {
    r.b = p.a, r.ldb = p.lda;
  } else {
    Matmul<T> b = p;
    b.b = p.a, b.ldb = p.lda, b.b_transposed = !p.a_transposed;
    pack_block_of_b<T>(b, r, 0, 0, p.scratch);
    r.b = p.scratch, r.b_packed = true;
  }
  for (std::int64_t i = 0; i < p.n; i += kSwapRows) {
    r.m = at_most(p.n - i, kSwapRows);
    r.a = p.b + (p.b_transposed ? i * p.ldb : i);
    if (p.bias != nullptr) {
      for (std::int64_t row = 0; row < r.m; ++row) {
        for (std::int64_t j = 0; j < r.ldc; j += kWidth) store(r.c + row * r.ldc + j, Vec<T>(p.bias[i + row]));
      }
      r.start = r.c, r.start_stride = r.ldc;
    }
    r.max_rows = tallest_tile<T>(r);
    sweep<T>(r);
    transpose_back<T>(r.c, r.ldc, p.c + i, p.ldc, p.m, r.m, p.add);
  }
}

template <class T> static void multiply(const Matmul<T>& p, const Plan& plan) {
  switch (plan.path) {
    case Path::kDirect: direct<T>(whole(p), p.scratch); break;
    case Path::kPacked: packed<T>(p, plan); break;
    case Path::kSwapped: swapped<T>(p, plan); break;
  }
}

// C += the product, whose chunks or blocks have to be summed apart from what C holds.
template <class T> static void multiply_apart(const Matmul<T>& p, const Plan& plan) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  Matmul<T> apart = p;
  apart.c = p.scratch + plan.totals_at, apart.ldc = p.n, apart.add = false;
  multiply<T>(apart, plan);
  for (std::int64_t i = 0; i < p.m; ++i) {
    for (std::int64_t j = 0; j < p.n; j += kWidth) {
      const std::int64_t cols = at_most(p.n - j, kWidth);
      T* c = p.c + i * p.ldc + j;
      store_n(c, load_n(c, cols) + load_n(apart.c + i * p.n + j, cols), cols);
    }
  }
}

template <class T> static void matmul(const Matmul<T>& p) {
  if (p.m <= 0 || p.n <= 0) return;
  const Plan plan = make_plan<T>(p);
  if (plan.totals) {
    multiply_apart<T>(p, plan);
  } else {
    multiply<T>(p, plan);
  }
}

template <class T> static std::int64_t matmul_scratch(const Matmul<T>& p) {
  return p.m <= 0 || p.n <= 0 ? 0 : make_plan<T>(p).scratch;
}

template <class T> void fill_gemm(Kernels<T>& table) {
  table.matmul = matmul<T>;
  table.matmul_scratch = matmul_scratch<T>;
  table.transpose = transpose_matrix<T>;
}

template void fill_gemm(Kernels<float>& table);
template void fill_gemm(Kernels<double>& table);

}  // namespace bp::BP_TIER
