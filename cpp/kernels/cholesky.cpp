#include "kernels/cholesky.h"

#include <algorithm>

namespace bp {
namespace {

// Below these sizes a kernel works in registers or the first cache; halves are multiples of kSolve.
constexpr std::int64_t kFactor = 16, kSolve = 8, kSquare = 64;

std::int64_t half_of(std::int64_t n) { return std::max((n / 2 + kSolve - 1) / kSolve * kSolve, kSolve); }

template <class T> const Products<T>& products() { return kernels<T>().products[static_cast<int>(Compute::kFull)]; }

// C (m, n) -= X^T Y
template <class T>
Matmul<T> difference(const T* x, std::int64_t ldx, const T* y, std::int64_t ldy, T* c, std::int64_t ldc, std::int64_t m,
                     std::int64_t n, std::int64_t k) {
  Matmul<T> p{};
  p.m = m, p.n = n, p.k = k;
  p.a = x, p.lda = ldx, p.a_transposed = true;
  p.b = y, p.ldb = ldy;
  p.c = c, p.ldc = ldc;
  p.add = true, p.rate = T(1);
  return p;
}

}  // namespace

template <class T> void mirror(T* a, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = i + 1; j < n; ++j) a[i * n + j] = a[j * n + i];
  }
}

template <class T> std::int64_t Cholesky<T>::scratch_size(std::int64_t n) {
  Matmul<T> most = difference<T>(nullptr, n, nullptr, n, nullptr, n, n, n, n);
  std::int64_t size = products<T>().most_scratch(most);
  most.a_transposed = false;
  size = std::max(size, products<T>().most_scratch(most));
  most.a_transposed = true, most.add = false;
  return std::max(size, products<T>().most_scratch(most));
}

template <class T>
Cholesky<T>::Cholesky(std::int64_t n) : n_(n), own_(scratch_size(n), kUnwritten), scratch_(own_.data()) {}

template <class T>
void Cholesky<T>::subtract(const T* x, std::int64_t ldx, const T* y, std::int64_t ldy, T* c, std::int64_t ldc,
                           std::int64_t m, std::int64_t n, std::int64_t k) {
  Matmul<T> p = difference(x, ldx, y, ldy, c, ldc, m, n, k);
  p.scratch = scratch_;
  products<T>().run(p);
}

// The upper triangle of C (n, n) -= X^T X, in bands of rows.
template <class T> void Cholesky<T>::subtract_square(const T* x, T* c, std::int64_t n, std::int64_t k) {
  for (std::int64_t i = 0; i < n; i += kSquare) {
    const std::int64_t rows = std::min(kSquare, n - i);
    subtract(x + i, stride_, x + i, stride_, c + i * stride_ + i, stride_, rows, n - i, k);
  }
}

template <class T>
void Cholesky<T>::solve_transposed(const T* u, std::int64_t stride, T* b, std::int64_t ldb, std::int64_t n,
                                   std::int64_t m) {
  if (n <= kSolve) return kernels<T>().solve(u, stride, b, ldb, n, m);
  const std::int64_t first = half_of(n), rest = n - first;
  solve_transposed(u, stride, b, ldb, first, m);
  subtract(u + first, stride, b, ldb, b + first * ldb, ldb, rest, m, first);
  solve_transposed(u + first * stride + first, stride, b + first * ldb, ldb, rest, m);
}

template <class T> bool Cholesky<T>::halves(T* a, std::int64_t n) {
  if (n <= kFactor) return kernels<T>().factor(a, stride_, n);
  const std::int64_t first = half_of(n), rest = n - first;
  if (!halves(a, first)) return false;
  if (n >= kSquare && *poll_) (*poll_)();
  T* const right = a + first;
  T* const below = right + first * stride_;
  solve_transposed(a, stride_, right, stride_, first, rest);
  subtract_square(right, below, rest, first);
  return halves(below, rest);
}

template <class T> bool Cholesky<T>::factor(T* a, std::int64_t stride, const std::function<void()>& poll) {
  stride_ = stride;
  poll_ = &poll;
  return n_ == 0 || halves(a, n_);
}

// U^T y = b, then U x = y, row by row of U.
template <class T> void Cholesky<T>::solve(const T* u, std::int64_t stride, T* b) const {
  const Kernels<T>& k = kernels<T>();
  for (std::int64_t i = 0; i < n_; ++i) {
    const T* row = u + i * stride + i;
    b[i] /= row[0];
    k.axpy(-b[i], row + 1, b + i + 1, n_ - i - 1);
  }
  for (std::int64_t i = n_; i-- > 0;) {
    const T* row = u + i * stride + i;
    b[i] = (b[i] - k.dot(row + 1, b + i + 1, n_ - i - 1)) / row[0];
  }
}

template <class T> void Cholesky<T>::solve(const T* u, std::int64_t stride, T* b, std::int64_t ldb, std::int64_t m) {
  solve_transposed(u, stride, b, ldb, n_, m);
  solve_upper(u, stride, b, ldb, n_, m);
}

// b (n, m) becomes U^-1 b: the lower half first.
template <class T>
void Cholesky<T>::solve_upper(const T* u, std::int64_t stride, T* b, std::int64_t ldb, std::int64_t n, std::int64_t m) {
  if (n <= kSolve) {
    for (std::int64_t i = n; i-- > 0;) {
      T* const row = b + i * ldb;
      for (std::int64_t k = i + 1; k < n; ++k) kernels<T>().axpy(-u[i * stride + k], b + k * ldb, row, m);
      kernels<T>().scale(T(1) / u[i * stride + i], row, m);
    }
    return;
  }
  const std::int64_t first = half_of(n), rest = n - first;
  solve_upper(u + first * stride + first, stride, b + first * ldb, ldb, rest, m);
  Matmul<T> p = difference<T>(u + first, stride, b + first * ldb, ldb, b, ldb, first, m, rest);
  p.a_transposed = false;
  p.scratch = scratch_;
  products<T>().run(p);
  solve_upper(u, stride, b, ldb, first, m);
}

// x (n - first, m) = columns first.. of U^-T from row `first` on; above it they are 0.
template <class T>
void Cholesky<T>::columns_of_inverse(const T* u, std::int64_t stride, std::int64_t first, T* x, std::int64_t ldx,
                                     std::int64_t m) {
  const std::int64_t rows = n_ - first;
  for (std::int64_t i = 0; i < rows; ++i) std::fill_n(x + i * ldx, m, T(0));
  for (std::int64_t i = 0; i < m; ++i) x[i * ldx + i] = T(1);
  solve_transposed(u + first * stride + first, stride, x, ldx, rows, m);
}

// The rows of U^-T, which is a lower triangle, against each other.
template <class T>
void Cholesky<T>::inverse(const T* u, std::int64_t stride, T* x, T* to, const std::function<void(double)>& look) {
  const std::int64_t n = n_;
  const auto done = [&](std::int64_t a, std::int64_t b, std::int64_t c) {
    if (look) look(static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c));
  };
  for (std::int64_t j = 0; j < n; j += kSquare) {
    const std::int64_t m = std::min(kSquare, n - j), rows = n - j;
    for (std::int64_t i = 0; i < j; ++i) std::fill_n(x + i * n + j, m, T(0));
    columns_of_inverse(u, stride, j, x + j * n + j, n, m);
    done(rows, rows, m);
  }
  for (std::int64_t i = 0; i < n; i += kSquare) {
    Matmul<T> p{};
    p.m = std::min(kSquare, n - i), p.n = i + p.m, p.k = n - i;
    p.a = x + i * n + i, p.a_transposed = true;
    p.b = x + i * n, p.c = to + i * n;
    p.lda = p.ldb = p.ldc = n;
    p.scratch = scratch_;
    products<T>().run(p);
    done(2 * p.m, p.n, p.k);
  }
  mirror(to, n);
}

// The squares of U^-T's elements, some columns at a time.
template <class T>
double Cholesky<T>::trace_of_inverse(const T* u, std::int64_t stride, const std::function<void()>& poll) {
  Buffer<T> columns(n_ * kSquare, kUnwritten);
  double sum = 0;
  for (std::int64_t j = 0; j < n_; j += kSquare) {
    if (poll) poll();
    const std::int64_t m = std::min(kSquare, n_ - j);
    columns_of_inverse(u, stride, j, columns.data(), m, m);
    sum += kernels<T>().sum_squares(columns.data(), (n_ - j) * m);
  }
  return sum;
}

template void mirror(float*, std::int64_t);
template void mirror(double*, std::int64_t);
template class Cholesky<float>;
template class Cholesky<double>;

}  // namespace bp
