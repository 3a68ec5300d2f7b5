// Normalised HSIC: how much the rows of two arrays depend on each other, as kernels see it (Fukumizu et al.,
// "Kernel measures of conditional dependence", 2007; as a training objective: Ma, Lewis, Kleijn, "The HSIC
// bottleneck", AAAI 2020).
//
//   K_ij = exp(-|x_i - x_j|^2 / (2 sigma^2 d))                 x (m, d)
//   R    = H K H (H K H + epsilon m I)^-1,  H = I - 1/m        as the published K H (K H + epsilon m I)^-1 in a trace
//   nHSIC(x, y) = tr(R_x R_y) = sum_ij R_x,ij R_y,ij           symmetric; 0 where one of them says nothing of the other
// With L = epsilon m and Q = L (H K H + L I)^-1 = I - R, and a symmetric M made of such R: of f = tr(R_z M),
//   df/dK = G = Q M Q / L,   df/dz_i = -2 / (sigma^2 d) sum_j G_ij K_ij (z_i - z_j)
//
// Cost of an R: 2 m^2 d + 7/3 m^3 flops, a Cholesky factorization and a solution with it; of a value and its gradient
// 4 m^2 d + 13/3 m^3.
// All on one thread, in a fixed order.
#pragma once

#include "kernels/cholesky.h"

namespace bp {

template <class T> class Hsic {
 public:
  using Look = std::function<void(double)>;  // between two parts, with the operations of the one that is done

  // For m rows of up to `width` values, in memory of the caller's.
  Hsic(std::int64_t m, std::int64_t width, T epsilon, T* memory);
  static std::int64_t memory_size(std::int64_t m, std::int64_t width);  // enough for fewer rows, and for narrower ones

  // M (m, m) += weight R, of x (m, d), or of labels below `classes` seen as rows with one 1 each. What is not finite,
  // or has no factorization, gives NaN.
  void add_ratio(const T* x, std::int64_t d, T sigma, T weight, T* to, const Look& look);
  void add_ratio(const std::int32_t* label, std::int64_t classes, T sigma, T weight, T* to, const Look& look);
  // parts (m) += m sum_j R_ij M_ij of z (m, d), whose mean is tr(R M).
  void measure(const T* z, std::int64_t d, T sigma, const T* relation, T* parts, const Look& look);
  // delta (m, d) += scale d tr(R M)/dz, of what measure() has just seen.
  void add_gradient(std::int64_t d, T sigma, const T* relation, T scale, T* delta, const Look& look);

 private:
  void run(Matmul<T> product, const Look& look) const;
  void find_similarities(const T* x, std::int64_t d, T sigma, const Look& look);
  bool factor(const Look& look);
  void find_inverse(const Look& look);
  void add_solution(T weight, T* to, const Look& look);
  T ridge() const { return epsilon_ * static_cast<T>(m_); }

  std::int64_t m_;
  T epsilon_;
  T *k_, *q_, *triangle_;  // (m, m) each: K, Q, and what leads to them
  T* work_;                // (m, m) or (m, d)
  T *points_, *sums_;      // (m, d) less the mean; (m) or (d)
  T* scratch_;
};

extern template class Hsic<float>;
extern template class Hsic<double>;

}  // namespace bp
