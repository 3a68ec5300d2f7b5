// Cholesky's factorization A = U^T U of a symmetric positive definite matrix, and solutions with it, in a fixed order
// of operations: LAPACK's bits depend on threads and CPU.
//
// Recursive halves: A = (A11 A12; . A22): U11 of A11, U12 = U11^-T A12, then A22 - U12^T U12; so nearly all of the n^3
// / 3 flops are products. Backward stable as any order of Cholesky's sums: |A - U^T U| <= c n eps |A| (Higham,
// "Accuracy and stability of numerical algorithms", 10.1).
#pragma once

#include <functional>

#include "base/buffer.h"
#include "kernels/table.h"

namespace bp {

template <class T> void mirror(T* a, std::int64_t n);  // the upper triangle of a (n, n) becomes that of the lower one

template <class T> class Cholesky {
 public:
  explicit Cholesky(std::int64_t n);
  Cholesky(std::int64_t n, T* scratch) : n_(n), scratch_(scratch) {}  // of the caller's memory
  static std::int64_t scratch_size(std::int64_t n);                   // enough for smaller ones
  std::int64_t size() const { return n_; }

  // a (n, n), rows `stride` apart: only the upper triangle is read and written. False where it is not positive
  // definite. poll is called now and then, and may throw.
  bool factor(T* a, std::int64_t stride, const std::function<void()>& poll = {});
  // b (n) becomes A^-1 b.
  void solve(const T* u, std::int64_t stride, T* b) const;
  // B (n, m), rows ldb apart, becomes A^-1 B.
  void solve(const T* u, std::int64_t stride, T* b, std::int64_t ldb, std::int64_t m);
  double trace_of_inverse(const T* u, std::int64_t stride, const std::function<void()>& poll = {});
  // to (n, n) = A^-1, whole; x (n, n) is written over. look is called between two parts, with the operations of the one
  // that is done, and may throw.
  void inverse(const T* u, std::int64_t stride, T* x, T* to, const std::function<void(double)>& look = {});
  // b (n, m), rows ldb apart, becomes U^-T b.
  void solve_transposed(const T* u, std::int64_t stride, T* b, std::int64_t ldb, std::int64_t n, std::int64_t m);

 private:
  void columns_of_inverse(const T* u, std::int64_t stride, std::int64_t first, T* x, std::int64_t ldx, std::int64_t m);
  void solve_upper(const T* u, std::int64_t stride, T* b, std::int64_t ldb, std::int64_t n, std::int64_t m);
  bool halves(T* a, std::int64_t n);
  void subtract(const T* x, std::int64_t ldx, const T* y, std::int64_t ldy, T* c, std::int64_t ldc, std::int64_t m,
                std::int64_t n, std::int64_t k);
  void subtract_square(const T* x, T* c, std::int64_t n, std::int64_t k);

  std::int64_t n_, stride_ = 0;
  const std::function<void()>* poll_ = nullptr;
  Buffer<T> own_;
  T* scratch_;
};

extern template class Cholesky<float>;
extern template class Cholesky<double>;

}  // namespace bp
