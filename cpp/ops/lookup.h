// A layer that takes rows of its first parameter, one for each position of a sample: the gradient is zero but for the
// rows that a batch touches, and whoever sums it need look at nothing else.
#pragma once

#include "ops/op.h"

namespace bp {

template <class T> class Lookup {
 public:
  explicit Lookup(std::int64_t positions) : positions_(positions) {}
  virtual ~Lookup() = default;

  std::int64_t positions() const { return positions_; }  // of a sample
  // Sums over the batch follow the chunks of ops/batch_sum.h: the place of a position in that order, and back. Places
  // of n samples are below places(n); not each of them has a position.
  static constexpr std::int64_t kChunk = BatchChunks::kSamples * BatchChunks::kPositions;
  std::int64_t place(std::int64_t sample, std::int64_t position) const {
    const std::int64_t chunk = sample / BatchChunks::kSamples * pieces() + position / BatchChunks::kPositions;
    return chunk * kChunk + sample % BatchChunks::kSamples * BatchChunks::kPositions +
           position % BatchChunks::kPositions;
  }
  std::int64_t position_at(std::int64_t place) const {  // counted over the batch
    const std::int64_t chunk = place / kChunk, rest = place % kChunk;
    const std::int64_t sample = chunk / pieces() * BatchChunks::kSamples + rest / BatchChunks::kPositions;
    return sample * positions_ + chunk % pieces() * BatchChunks::kPositions + rest % BatchChunks::kPositions;
  }
  std::int64_t places(std::int64_t n) const {
    return (n + BatchChunks::kSamples - 1) / BatchChunks::kSamples * pieces() * kChunk;
  }

  // Of a position, counted over the batch.
  virtual std::int64_t row(const Io<T>& io, std::int64_t position) const = 0;
  // Whether rows that no position has are left alone, with what the optimizer keeps of them, whatever its formula.
  virtual bool lazy() const = 0;
  // Some columns of the gradient of a row, to which the places lead that place(0), .., place(count - 1) gives,
  // ascending: g = or += it, with the bits of accumulate(). scratch: 2 align_up(columns).
  template <class Place>
  void sum_row(const Io<T>& io, std::int64_t count, Place place, Rows columns, T* g, bool add, T* scratch) const {
    const std::int64_t n = columns.count();
    T *const chunk = scratch, *const total = add ? scratch + align_up<T>(n) : g;
    for (std::int64_t i = 0, first = 0; i < count; first = i) {
      T* const to = first == 0 ? total : chunk;
      const std::int64_t here = place(first) / kChunk;
      std::fill_n(to, n, T(0));
      for (; i < count && place(i) / kChunk == here; ++i) {
        kernels<T>().axpy(T(1), gradient(io, position_at(place(i))) + columns.begin, to, n);
      }
      if (first > 0) kernels<T>().axpy(T(1), chunk, total, n);
    }
    if (add) kernels<T>().axpy(T(1), total, g, n);
  }

 protected:
  virtual const T* gradient(const Io<T>& io, std::int64_t position) const = 0;  // that reached a position's row

 private:
  std::int64_t pieces() const { return (positions_ + BatchChunks::kPositions - 1) / BatchChunks::kPositions; }
  std::int64_t positions_;
};

}  // namespace bp
