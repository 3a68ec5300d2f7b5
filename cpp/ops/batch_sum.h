// Sums over the batch, in chunks: single precision would lose the tail of a long chain of additions. The chunks are
// part of the numerics contract (docs/numerics.md): they depend on the shape of a sample and on nothing else.
//
//   (N, F)        a chunk is 1,024 samples
//   (N, .., F)    P positions a sample, the product of the axes between: a chunk is 8 samples by 128 positions, in the
//                 order sample, position. Chunks are cut at multiples of both and follow in the order samples,
//                 positions. A longer sequence whose further positions add zeros moves no cut: padding changes no bit.
// Each chunk is one chain, and the chunks' sums are added in order.
#pragma once

#include <algorithm>

#include "base/buffer.h"
#include "kernels/table.h"

namespace bp {

inline Chain adding(bool add) { return add ? Chain::kAdds : Chain::kStarts; }

class BatchChunks {
 public:
  static constexpr std::int64_t kRows = 1024, kSamples = 8, kPositions = 128;

  enum class Layout { kDense, kApart };
  // x: a sample, its last axis the columns. at_once: terms of a sum that the product takes together (terms_at_once()),
  // which must not come from two samples. Apart: samples do not follow each other in memory.
  explicit BatchChunks(const Shape& x, std::int64_t at_once = 1) : BatchChunks(x, Layout::kDense, at_once) {}
  BatchChunks(const Shape& x, Layout layout, std::int64_t at_once = 1) {
    if (x.size() < 2) return;
    for (std::size_t axis = 0; axis + 1 < x.size(); ++axis) positions_ *= x[axis];
    samples_ = kSamples;
    in_pieces_ = positions_ > kPositions || layout == Layout::kApart || positions_ % at_once != 0;
  }

  std::int64_t positions() const { return positions_; }
  std::int64_t samples() const { return in_pieces_ ? 0 : samples_; }  // whose sum is one chain of neighbouring rows
  // Rows of a chunk, where they are neighbours and chunks follow each other; else 0: chunks come in pieces.
  std::int64_t rows() const { return samples() * positions_; }
  Rows rows_of(Rows samples) const { return {samples.begin * positions_, samples.end * positions_}; }

  // What a sum of n values in pieces takes besides its result.
  template <class T> std::int64_t scratch(std::int64_t n) const { return in_pieces_ ? 2 * align_up<T>(n) : 0; }

  // out (n) = or += the sums over some samples of n columns of x, whose rows are ld apart; scratch as above.
  template <class T>
  void sum_columns(const T* x, std::int64_t ld, Rows samples, std::int64_t n, T* out, bool add, T* scratch) const;
  // The same of (x - shift) y, or (x - shift)^2 where y is null; shift may be null. (Added chunk by chunk.)
  template <class T>
  void dot_columns(const T* x, const T* shift, const T* y, std::int64_t ld, Rows samples, std::int64_t n, T* out,
                   bool add, T* scratch) const;

  // out (n) = or += the sum over some samples; scratch as above. one(rows, chain, to): `to` = the sum over neighbouring
  // rows, the first of which goes on from `to` if chain is Chain::kGoesOn.
  template <class T, class One>
  void sum_pieces(Rows samples, std::int64_t n, T* out, bool add, T* scratch, One one) const;

 private:
  std::int64_t positions_ = 1, samples_ = kRows;
  bool in_pieces_ = false;
};

template <class T, class One>
void BatchChunks::sum_pieces(Rows samples, std::int64_t n, T* out, bool add, T* scratch, One one) const {
  T* const chunk = scratch;
  T* const total = add ? scratch + align_up<T>(n) : out;
  bool first = true;
  for (std::int64_t s = samples.begin; s < samples.end; s += kSamples) {
    for (std::int64_t p = 0; p < positions_; p += kPositions) {
      T* const to = first ? total : chunk;
      for (std::int64_t i = s; i < std::min(s + kSamples, samples.end); ++i) {
        const std::int64_t begin = i * positions_ + p, length = std::min(kPositions, positions_ - p);
        one(Rows{begin, begin + length}, i == s ? Chain::kStarts : Chain::kGoesOn, to);
      }
      if (!first) kernels<T>().axpy(T(1), chunk, total, n);
      first = false;
    }
  }
  if (first) std::fill_n(total, n, T(0));  // no samples
  if (add) kernels<T>().axpy(T(1), total, out, n);
}

template <class T>
void BatchChunks::sum_columns(const T* x, std::int64_t ld, Rows samples, std::int64_t n, T* out, bool add,
                              T* scratch) const {
  const auto sum = [&](Rows rows, std::int64_t chunk, Chain chain, T* to) {
    kernels<T>().column_sum(x + rows.begin * ld, ld, to, rows.count(), n, chunk, chain);
  };
  if (!in_pieces_) return sum(rows_of(samples), this->rows(), adding(add), out);
  sum_pieces(samples, n, out, add, scratch, [&](Rows rows, Chain chain, T* to) { sum(rows, 0, chain, to); });
}

template <class T>
void BatchChunks::dot_columns(const T* x, const T* shift, const T* y, std::int64_t ld, Rows samples, std::int64_t n,
                              T* out, bool add, T* scratch) const {
  const auto sum = [&](Rows rows, std::int64_t chunk, Chain chain, T* to) {
    const T* const other = y == nullptr ? nullptr : y + rows.begin * ld;
    kernels<T>().column_dot(x + rows.begin * ld, shift, other, ld, to, rows.count(), n, chunk, chain);
  };
  if (!in_pieces_) return sum(rows_of(samples), this->rows(), adding(add), out);
  sum_pieces(samples, n, out, add, scratch, [&](Rows rows, Chain chain, T* to) { sum(rows, 0, chain, to); });
}

}  // namespace bp
