// One matrix product by a team of threads, cut as the layers and the training step cut theirs; and the limit that it can
// be compared with.
#pragma once

#include "kernels/table.h"

namespace bp {

// A thread that takes its rows of a product with B (k x n) reads, and packs, all of B. From a megabyte of it on it is
// cheaper to take all rows and part of B's columns, and to wait at a barrier (1024-2048-2048-100, batch 256: measured 27
// against 22 ms).
constexpr std::int64_t kColumnWeights = 1 << 18, kColumnWidth = 256;
constexpr bool columns_pay(std::int64_t k, std::int64_t n) { return k * n >= kColumnWeights && n >= kColumnWidth; }

// Rows of a tile of a gradient, or a multiple: two register tiles of up to 14 rows.
constexpr std::int64_t kTileRows = 28;

// The bits do not depend on the number of threads. Each has scratch of its own: product.scratch is not looked at.
template <class T> void team_matmul(const Products<T>& products, const Matmul<T>& product, int threads);

// Flops a second of so many threads at once: the best of what fits into `seconds`.
template <class T> double fma_peak(int threads, double seconds);

}  // namespace bp
