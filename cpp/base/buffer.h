// Owned, 64-byte aligned memory, and the shapes that say how it is seen.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"

namespace bp {

using Shape = std::vector<std::int64_t>;

inline std::int64_t size_of(const Shape& shape) {
  std::int64_t size = 1;
  for (std::int64_t extent : shape) size = checked_mul(size, extent);
  return size;
}

constexpr std::int64_t kAlignment = 64;  // a cache line, and the widest vector

// Elements of T rounded up so that the next array starts on a cache line.
template <class T> std::int64_t align_up(std::int64_t n) {
  constexpr std::int64_t kPer = kAlignment / static_cast<std::int64_t>(sizeof(T));
  return (n + kPer - 1) / kPer * kPer;
}

// Aligned to kAlignment; to be freed by std::free. `what` is what an OutOfMemory says it was to be.
void* allocate(std::int64_t bytes, const char* what);
void clear(void* data, std::int64_t bytes);  // to zeros; can be interrupted

enum Unwritten { kUnwritten };
inline constexpr char kWorkingMemory[] = "working memory of an operation";

template <class T> class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t n, const char* what = kWorkingMemory) : Buffer(n, kUnwritten, what) {
    clear(data_, align_up<T>(n > 0 ? n : 1) * static_cast<std::int64_t>(sizeof(T)));
  }
  // What nobody writes takes no memory, where the system hands out pages on their first use.
  Buffer(std::int64_t n, Unwritten, const char* what = kWorkingMemory) : size_(n) {
    data_ = static_cast<T*>(allocate(checked_mul(align_up<T>(n > 0 ? n : 1), sizeof(T)), what));
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  T& operator[](std::int64_t i) { return data_[i]; }
  const T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

struct Rows {  // a range of samples, or of a parameter's rows
  std::int64_t begin, end;
  std::int64_t count() const { return end - begin; }
};

// Part `rank` of `parts` nearly equal parts of n.
inline Rows split(std::int64_t n, int rank, int parts) { return {n * rank / parts, n * (rank + 1) / parts}; }

// The same, cut at multiples of `step`.
inline Rows split_at(std::int64_t step, std::int64_t n, int rank, int parts) {
  const Rows steps = split((n + step - 1) / step, rank, parts);
  return {std::min(steps.begin * step, n), std::min(steps.end * step, n)};
}

// Of columns: a cache line of floats times four, so that no two threads write one line and only the last share has a
// short vector.
constexpr std::int64_t kColumnStep = 64;
inline Rows split_columns(std::int64_t n, int rank, int parts) { return split_at(kColumnStep, n, rank, parts); }

}  // namespace bp
