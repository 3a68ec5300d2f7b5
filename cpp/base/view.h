// A user's array as the core sees it: any real dtype, byte order and strides. Owns nothing.
#pragma once

#include <cstdint>

namespace bp {

// clang-format off
enum class DType : int {
  kBool, kInt8, kInt16, kInt32, kInt64, kUint8, kUint16, kUint32, kUint64, kFloat16, kFloat32, kFloat64
};
// clang-format on

constexpr int kMaxRank = 16;

struct ArrayView {
  const char* data = nullptr;
  DType dtype = DType::kFloat32;
  bool swapped = false;  // not this machine's byte order
  int rank = 0;          // shape[0] counts samples
  std::int64_t shape[kMaxRank] = {};
  std::int64_t stride[kMaxRank] = {};  // bytes

  std::int64_t rows() const { return rank > 0 ? shape[0] : 1; }
  std::int64_t row_size() const {
    std::int64_t size = 1;
    for (int axis = 1; axis < rank; ++axis) size *= shape[axis];
    return size;
  }
};

}  // namespace bp
