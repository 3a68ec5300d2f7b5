// C = op(A) op(B) on one thread; the contract is at struct Matmul in table.h, the choices in gemm_plan.h.
//
// 2 m n k flops. Whatever is packed, transposed or blocked, an element is the same chain of FMAs: a later block of k
// starts from what the block before left in C.
#include "kernels/gemm_pack.h"
#include "kernels/gemm_plan.h"
#include "kernels/gemm_stream.h"

namespace bp::BP_TIER {

template <class T> static Region<T> whole(const Matmul<T>& p) {
  Region<T> r{};
  r.m = p.m, r.n = p.n, r.k = p.k;
  r.a = p.a, r.lda = p.lda, r.a_contiguous = p.a_transposed;
  r.b = p.b, r.ldb = p.ldb;
  r.start = p.goes_on ? p.c : p.bias, r.start_stride = p.goes_on ? p.ldc : 0;
  r.c = p.c, r.ldc = p.ldc;
  r.add = p.add, r.rate = p.rate, r.chunk = p.chunk;
  r.max_vecs = widest_tile(p.m);
  return r;
}

// B where it lies. Tiers without masked loads get the last columns in a padded copy.
template <class T> static void direct(const Matmul<T>& p) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  Region<T> r = whole(p);
  const std::int64_t edge = kMaskedLoads ? 0 : r.n % kWidth, at = r.n - edge;
  r.soon = p.soon;
  r.n = at;
  if (at > 0) {
    r.max_rows = tallest_tile<T>(r);
    sweep<T>(r);
  }
  if (edge == 0) return;
  r.soon = {};
  pack_b<T>(r.b + at, r.ldb, r.k, edge, p.scratch);
  r.b = p.scratch, r.b_packed = true;
  if (r.start != nullptr) r.start += at;
  r.c += at;
  r.n = edge;
  r.max_rows = tallest_tile<T>(r);
  sweep<T>(r);
}

template <class T> static void pack_panel(const Source<T>& b, T* panel) {
  if (b.transposed) {
    pack_b_transposed<T>(b.b, b.ld, b.depth, b.n, panel);
  } else {
    pack_b<T>(b.b, b.ld, b.depth, b.n, panel);
  }
}

template <class T> static void packed(const Matmul<T>& p, const Plan& plan) {
  T* const a_panels = p.scratch + plan.a_at;
  const Region<T> r = whole(p);
  const auto lay_a = [&](Region<T>& block, std::int64_t i, std::int64_t k) {
    block.a = p.a + (p.a_transposed ? k * p.lda + i : i * p.lda + k);
    if (!plan.pack_a) return;
    block.max_rows = max_tile_rows(static_cast<int>(block.max_vecs));
    if (p.a_transposed) {
      pack_a_transposed<T>(block.a, p.lda, {block.m, block.max_rows}, block.k, a_panels);
      block.a_packed = true;
    } else {
      block.lda = plan.copied_lda;
      copy_rows<T>(block.a, p.lda, block.m, block.k, a_panels, block.lda);
    }
    block.a = a_panels;
  };
  // Not where A was given transposed: short pieces so far apart that they share few sets of L2, and would not stay
  // there.
  const Source<T> a = p.a_transposed ? Source<T>{} : Source<T>{p.a, p.lda, p.k, p.m, true};
  stream<T>(r, plan.blocks, a, {p.b, p.ldb, p.k, p.n, p.b_transposed}, lay_a, pack_panel<T>, p.scratch);
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

// The rows of C that are turned at once.
template <class T> static void swapped_rows(const Matmul<T>& p, const Plan& plan) {
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
    const Split cols(vectors<T>(p.m), r.max_vecs);
    for (std::int64_t x = 0, j = 0; x < cols.parts; j += cols.of(x) * kWidth, ++x) {
      const T* const from = p.a + j * (p.a_transposed ? 1 : p.lda);
      pack_panel<T>({from, p.lda, p.k, at_most(p.m - j, cols.of(x) * kWidth), !p.a_transposed}, p.scratch + j * p.k);
    }
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

template <class T> static void swapped(const Matmul<T>& p, const Plan& plan) {
  for (std::int64_t i = 0; i < p.m; i += plan.turned) {
    Matmul<T> part = p;
    part.m = at_most(p.m - i, plan.turned);
    part.a += p.a_transposed ? i : i * p.lda;
    part.c += i * p.ldc;
    swapped_rows<T>(part, plan);
  }
}

template <class T> static void multiply(const Matmul<T>& p, const Plan& plan) {
  switch (plan.path) {
    case Path::kDirect: direct<T>(p); break;
    case Path::kPacked: packed<T>(p, plan); break;
    case Path::kSwapped: swapped<T>(p, plan); break;
  }
}

template <class T> static void matmul(const Matmul<T>& p) {
  if (p.m <= 0 || p.n <= 0) return;
  const Plan plan = make_plan<T>(p);
  if (plan.totals) {
    multiply_apart<T>(p, p.scratch + plan.totals_at, [&](const Matmul<T>& apart) { multiply<T>(apart, plan); });
  } else {
    multiply<T>(p, plan);
  }
}

template <class T> static std::int64_t matmul_scratch(const Matmul<T>& p) {
  return p.m <= 0 || p.n <= 0 ? 0 : make_plan<T>(p).scratch;
}

template <class T> static std::int64_t matmul_most_scratch(const Matmul<T>& p) {
  return p.m <= 0 || p.n <= 0 ? 0 : most_scratch<T>(p);
}

template <class T> void fill_gemm(Kernels<T>& table) {
  table.products[static_cast<int>(Compute::kFull)] = {matmul<T>, matmul_scratch<T>, matmul_most_scratch<T>};
  table.transpose = transpose_matrix<T>;
}

template void fill_gemm(Kernels<float>& table);
template void fill_gemm(Kernels<double>& table);

}  // namespace bp::BP_TIER
