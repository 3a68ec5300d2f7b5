// One matrix product by a team of threads, cut as the layers and the training step cut theirs; and the limit that it
// can be compared with.
#pragma once

#include "kernels/table.h"

namespace bp {

// The bits do not depend on the number of threads. Each has scratch of its own: product.scratch is not looked at.
template <class T> void team_matmul(const Products<T>& products, const Matmul<T>& product, int threads);

// Flops a second of a number of threads at once: the best of what fits into `seconds`.
template <class T> double fma_peak(int threads, double seconds);

}  // namespace bp
