#include "kernels/hsic.h"

#include <algorithm>
#include <limits>

namespace bp {
namespace {

constexpr std::int64_t kBand = 64;  // rows of a symmetric product that are found at once

template <class T> const Products<T>& products() { return kernels<T>().products[static_cast<int>(Compute::kFull)]; }

// C (m, n) = A (m, k) B (k, n), dense but for C's rows.
template <class T>
Matmul<T> product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
                  std::int64_t ldb, T* c, std::int64_t ldc) {
  Matmul<T> p{};
  p.m = m, p.n = n, p.k = k;
  p.a = a, p.lda = lda;
  p.b = b, p.ldb = ldb;
  p.c = c, p.ldc = ldc;
  return p;
}

}  // namespace

template <class T> std::int64_t Hsic<T>::memory_size(std::int64_t m, std::int64_t width) {
  std::int64_t most = Cholesky<T>::scratch_size(m);
  const auto room = [&](const Matmul<T>& p) { most = std::max(most, products<T>().most_scratch(p)); };
  Matmul<T> gram = product<T>(m, m, width, nullptr, width, nullptr, width, nullptr, m);
  gram.b_transposed = true;
  room(gram);
  Matmul<T> square = product<T>(m, m, m, nullptr, m, nullptr, m, nullptr, m);
  room(square);
  square.a_transposed = true;
  room(square);
  room(product<T>(m, width, m, nullptr, m, nullptr, width, nullptr, width));
  const std::int64_t square_size = align_up<T>(checked_mul(m, m)), points = align_up<T>(checked_mul(m, width));
  return 3 * square_size + std::max(square_size, points) + points + align_up<T>(std::max(m, width)) + align_up<T>(most);
}

template <class T> Hsic<T>::Hsic(std::int64_t m, std::int64_t width, T epsilon, T* memory) : m_(m), epsilon_(epsilon) {
  const auto take = [&](std::int64_t size) {
    T* const at = memory;
    memory += align_up<T>(size);
    return at;
  };
  k_ = take(m * m), q_ = take(m * m), triangle_ = take(m * m);
  work_ = take(std::max(m * m, m * width));
  points_ = take(m * width), sums_ = take(std::max(m, width));
  scratch_ = memory;
}

template <class T> void Hsic<T>::run(Matmul<T> p, const Look& look) const {
  // Rows at a time, so that long work is looked at often enough.
  for (std::int64_t i = 0, end = p.m; i < end; i += 4 * kBand) {
    Matmul<T> part = p;
    part.m = std::min(4 * kBand, end - i);
    part.a += i * (p.a_transposed ? 1 : p.lda);
    part.c += i * p.ldc;
    part.scratch = scratch_;
    products<T>().run(part);
    look(2.0 * static_cast<double>(part.m) * static_cast<double>(part.n) * static_cast<double>(part.k));
  }
}

// k_ = K; points_ = x less its mean, which leaves every difference as it is and makes squares small.
template <class T> void Hsic<T>::find_similarities(const T* x, std::int64_t d, T sigma, const Look& look) {
  const Kernels<T>& of = kernels<T>();
  const std::int64_t m = m_;
  of.column_sum(x, d, sums_, m, d, 0, Chain::kStarts);
  of.scale(T(1) / static_cast<T>(m), sums_, d);
  for (std::int64_t i = 0; i < m; ++i) {
    of.binary[static_cast<int>(Binary::kSubtract)](x + i * d, 1, sums_, 1, points_ + i * d, d);
  }
  Matmul<T> gram = product<T>(m, m, d, points_, d, points_, d, k_, m);
  gram.b_transposed = true;
  run(gram, look);
  for (std::int64_t i = 0; i < m; ++i) sums_[i] = of.dot(points_ + i * d, points_ + i * d, d);
  const T rate = T(1) / (T(2) * sigma * sigma * static_cast<T>(d));
  for (std::int64_t i = 0; i < m; ++i) {
    T* const row = k_ + i * m;
    for (std::int64_t j = 0; j < m; ++j) {
      const T e = rate * (T(2) * row[j] - (sums_[i] + sums_[j]));
      row[j] = e > T(0) ? T(0) : e;  // NaN stays
    }
    if (row[i] - row[i] == T(0)) row[i] = T(0);
    of.math[static_cast<int>(Math::kExp)](row, row, m);
  }
}

// q_ = H K H of k_ = K, and work_ = the factor U of it and the ridge, in which the constant is lifted to where the rest
// of K is: H maps it to 0, so that its Q were 1 and all else would lose digits beside it, but no M sees anything of it.
// False where there is no factor.
template <class T> bool Hsic<T>::factor(const Look& look) {
  const Kernels<T>& of = kernels<T>();
  const std::int64_t m = m_;
  const T share = T(1) / static_cast<T>(m);
  of.column_sum(k_, m, sums_, m, m, 0, Chain::kStarts);
  of.scale(share, sums_, m);
  T mean = 0;
  for (std::int64_t i = 0; i < m; ++i) mean += sums_[i] * share;
  for (std::int64_t i = 0; i < m; ++i) {
    const T* const row = k_ + i * m;
    T* const centred = q_ + i * m;
    T* const sum = work_ + i * m;
    for (std::int64_t j = 0; j < m; ++j) {
      centred[j] = (row[j] - (sums_[i] + sums_[j])) + mean;
      sum[j] = centred[j] + mean;
    }
    sum[i] += ridge();
  }
  look(static_cast<double>(m) * static_cast<double>(m));
  return of.all_finite(work_, m * m) && Cholesky<T>(m, scratch_).factor(work_, m, [&] { look(0); });
}

// q_ = Q, the ridge times the inverse, from work_ = U.
template <class T> void Hsic<T>::find_inverse(const Look& look) {
  Cholesky<T>(m_, scratch_).inverse(work_, m_, triangle_, q_, look);
  kernels<T>().scale(ridge(), q_, m_ * m_);
}

// to += weight R. By substitution in H K H, of which nothing is lost where it maps rows that are alike to 0, as labels
// are.
template <class T> void Hsic<T>::add_solution(T weight, T* to, const Look& look) {
  const std::int64_t m = m_;
  if (!factor(look)) {
    std::fill_n(to, m * m, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  Cholesky<T> cholesky(m, scratch_);
  for (std::int64_t j = 0; j < m; j += kBand) {
    const std::int64_t columns = std::min(kBand, m - j);
    cholesky.solve(work_, m, q_ + j, m, columns);
    look(2.0 * static_cast<double>(m) * static_cast<double>(m) * static_cast<double>(columns));
  }
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < m; ++j) to[i * m + j] += weight * ((q_[i * m + j] + q_[j * m + i]) * T(0.5));
  }
}

template <class T> void Hsic<T>::add_ratio(const T* x, std::int64_t d, T sigma, T weight, T* to, const Look& look) {
  find_similarities(x, d, sigma, look);
  add_solution(weight, to, look);
}

template <class T>
void Hsic<T>::add_ratio(const std::int32_t* label, std::int64_t classes, T sigma, T weight, T* to, const Look& look) {
  const std::int64_t m = m_;
  T apart = -T(1) / (sigma * sigma * static_cast<T>(classes));  // |e_a - e_b|^2 is 2
  kernels<T>().math[static_cast<int>(Math::kExp)](&apart, &apart, 1);
  for (std::int64_t i = 0; i < m; ++i) {
    T* const row = k_ + i * m;
    for (std::int64_t j = 0; j < m; ++j) row[j] = label[i] == label[j] ? T(1) : apart;
  }
  add_solution(weight, to, look);
}

template <class T>
void Hsic<T>::measure(const T* z, std::int64_t d, T sigma, const T* relation, T* parts, const Look& look) {
  const std::int64_t m = m_;
  find_similarities(z, d, sigma, look);
  if (factor(look)) {
    find_inverse(look);
  } else {
    std::fill_n(q_, m * m, std::numeric_limits<T>::quiet_NaN());
  }
  for (std::int64_t i = 0; i < m; ++i) {
    const T* const row = relation + i * m;
    parts[i] += static_cast<T>(m) * (row[i] - kernels<T>().dot(q_ + i * m, row, m));
  }
}

template <class T>
void Hsic<T>::add_gradient(std::int64_t d, T sigma, const T* relation, T scale, T* delta, const Look& look) {
  const Kernels<T>& of = kernels<T>();
  const std::int64_t m = m_;
  T* const half = work_;
  T* const pull = triangle_;
  run(product<T>(m, m, m, q_, m, relation, m, half, m), look);
  for (std::int64_t i = 0; i < m; i += kBand) {  // Q M Q is symmetric
    const std::int64_t rows = std::min(kBand, m - i);
    run(product<T>(rows, i + rows, m, half + i * m, m, q_, m, pull + i * m, m), look);
  }
  mirror(pull, m);
  of.binary[static_cast<int>(Binary::kMultiply)](pull, 1, k_, 1, pull, m * m);
  of.column_sum(pull, m, sums_, m, m, 0, Chain::kStarts);
  run(product<T>(m, d, m, pull, m, points_, d, half, d), look);
  // Each z moves K as the first and as the second of a pair.
  const T rate = -T(2) * scale / (sigma * sigma * static_cast<T>(d) * ridge());
  for (std::int64_t i = 0; i < m; ++i) {
    of.axpy(rate * sums_[i], points_ + i * d, delta + i * d, d);
    of.axpy(-rate, half + i * d, delta + i * d, d);
  }
}

template class Hsic<float>;
template class Hsic<double>;

}  // namespace bp
