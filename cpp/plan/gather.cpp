#include "plan/gather.h"

#include "base/threads.h"
#include "kernels/table.h"
#include "ops/ids.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

namespace bp {
namespace {

// IEEE half to single: rebias the exponent; subnormals are scaled by the exact power of two.
float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t rebiased = exponent == 31 ? 0xffu : exponent + 112;
  return std::bit_cast<float>(sign | rebiased << 23 | fraction << 13);
}

template <class S, bool kSwapped> S fetch(const char* p) {
  S value;
  if constexpr (kSwapped && sizeof(S) > 1) {
    char bytes[sizeof(S)];
    std::reverse_copy(p, p + sizeof(S), bytes);
    std::memcpy(&value, bytes, sizeof(S));
  } else {
    std::memcpy(&value, p, sizeof(S));
  }
  return value;
}

struct Half {
  std::uint16_t bits;
};
template <class T, class S> T convert(S value) {
  if constexpr (std::is_same_v<S, Half>) {
    return static_cast<T>(half_to_float(value.bits));
  } else {
    return static_cast<T>(value);
  }
}

template <class T, class S, bool kSwapped> void run(const char* src, std::int64_t stride, std::int64_t n, T* dst) {
  if (!kSwapped && std::is_same_v<S, T> && stride == sizeof(S)) {
    std::memcpy(static_cast<void*>(dst), src, static_cast<std::size_t>(n) * sizeof(S));
  } else if (stride == sizeof(S)) {  // a constant stride, so that the compiler vectorises the conversion
    for (std::int64_t i = 0; i < n; ++i) {
      dst[i] = convert<T>(fetch<S, kSwapped>(src + i * static_cast<std::int64_t>(sizeof(S))));
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) dst[i] = convert<T>(fetch<S, kSwapped>(src + i * stride));
  }
}

// Whole numbers as the bits of ids.
template <class T, class S, bool kSwapped> void run_ids(const char* src, std::int64_t stride, std::int64_t n, T* dst) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto value =
        convert<std::conditional_t<std::is_same_v<S, Half>, float, S>>(fetch<S, kSwapped>(src + i * stride));
    constexpr double kMost = 0x1p30;  // and -1 stands for all that is out of range: an op refuses it
    const bool fits = static_cast<double>(value) >= 0 && static_cast<double>(value) <= kMost;
    set_id(fits ? static_cast<std::int64_t>(value) : -1, dst + i);
  }
}

template <class T> using Run = void (*)(const char*, std::int64_t, std::int64_t, T*);

template <class T, class S> Run<T> pick(bool swapped, bool ids) {
  if (ids) return swapped ? run_ids<T, S, true> : run_ids<T, S, false>;
  return swapped ? run<T, S, true> : run<T, S, false>;
}

template <class T> Run<T> pick_run(DType dtype, bool swapped, bool ids = false) {
  switch (dtype) {
    case DType::kBool:
    case DType::kUint8: return pick<T, std::uint8_t>(false, ids);
    case DType::kInt8: return pick<T, std::int8_t>(false, ids);
    case DType::kInt16: return pick<T, std::int16_t>(swapped, ids);
    case DType::kInt32: return pick<T, std::int32_t>(swapped, ids);
    case DType::kInt64: return pick<T, std::int64_t>(swapped, ids);
    case DType::kUint16: return pick<T, std::uint16_t>(swapped, ids);
    case DType::kUint32: return pick<T, std::uint32_t>(swapped, ids);
    case DType::kUint64: return pick<T, std::uint64_t>(swapped, ids);
    case DType::kFloat16: return pick<T, Half>(swapped, ids);
    case DType::kFloat32: return pick<T, float>(swapped, ids);
    case DType::kFloat64: return pick<T, double>(swapped, ids);
  }
  throw BadInput("unknown dtype");
}

// Every line of the bytes from p; kNear: of __builtin_prefetch, 3 for the level-1 cache, 2 for level 2.
template <int kNear> void ask_for(const char* p, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes - 1; i += kAlignment) __builtin_prefetch(p + i, 0, kNear);
  __builtin_prefetch(p + bytes - 1, 0, kNear);
}

bool is_float(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kFloat32 || dtype == DType::kFloat64; }

}  // namespace

template <class T> RowReader<T>::RowReader(const ArrayView& view) : view_(view), row_size_(view.row_size()) {
  run_ = pick_run<T>(view.dtype, view.swapped);
  for (int axis = 1; axis < view.rank; ++axis) {
    const std::int64_t extent = view.shape[axis], stride = view.stride[axis];
    if (extent == 1) continue;
    if (axes_ > 0 && stride_[axes_ - 1] == stride * extent) {
      extent_[axes_ - 1] *= extent;
      stride_[axes_ - 1] = stride;
    } else {
      extent_[axes_] = extent;
      stride_[axes_++] = stride;
    }
  }
  if (axes_ == 0) {  // a row is one value
    extent_[0] = row_size_;
    stride_[axes_++] = sizeof(T);
  }
  const bool one_run =
      view.rank > 0 && axes_ == 1 && stride_[0] > 0 && stride_[0] <= static_cast<std::int64_t>(sizeof(double));
  run_bytes_ = one_run ? extent_[0] * stride_[0] : 0;
}

template <class T> void RowReader<T>::read_as_ids() {
  ids_ = true;
  run_ = pick_run<T>(view_.dtype, view_.swapped, true);
}

template <class T> void RowReader<T>::subtract(std::vector<Offset> offset) {
  wide_run_ = pick_run<double>(view_.dtype, view_.swapped);
  offset_ = std::make_shared<const std::vector<Offset>>(std::move(offset));
}

template <class T> const T* RowReader<T>::direct() const {
  if (offset_ != nullptr || ids_) return nullptr;
  const bool same = view_.dtype == (sizeof(T) == 4 ? DType::kFloat32 : DType::kFloat64) && !view_.swapped;
  const bool dense =
      axes_ == 1 && (row_size_ == 1 || stride_[0] == sizeof(T)) &&
      (view_.rank < 1 || rows() <= 1 || view_.stride[0] == row_size_ * static_cast<std::int64_t>(sizeof(T)));
  const bool aligned = reinterpret_cast<std::uintptr_t>(view_.data) % alignof(T) == 0;
  return same && dense && aligned ? reinterpret_cast<const T*>(view_.data) : nullptr;
}

// n values from column `column` of a row on.
template <class T>
void RowReader<T>::read_run(const char* src, std::int64_t stride, std::int64_t n, std::int64_t column, T* dst) const {
  if (offset_ == nullptr) return run_(src, stride, n, dst);
  constexpr std::int64_t kChunk = 128;
  const auto size = static_cast<std::int64_t>(offset_->size());
  double wide[kChunk];
  for (std::int64_t first = 0; first < n; first += kChunk) {
    const std::int64_t count = std::min(kChunk, n - first);
    wide_run_(src + first * stride, stride, count, wide);
    for (std::int64_t i = 0; i < count; ++i) {
      const Offset& offset = (*offset_)[static_cast<std::size_t>((column + first + i) % size)];
      dst[first + i] =
          offset.wide ? static_cast<T>(wide[i] - offset.value) : static_cast<T>(wide[i]) - static_cast<T>(offset.value);
    }
  }
}

template <class T> void RowReader<T>::read_row(const char* src, T* dst) const {
  if (axes_ == 1) return read_run(src, stride_[0], extent_[0], 0, dst);
  if (row_size_ == 0) return;
  const int inner = axes_ - 1;
  std::int64_t index[kMaxRank] = {}, column = 0;
  for (;;) {
    read_run(src, stride_[inner], extent_[inner], column, dst);
    dst += extent_[inner], column += extent_[inner];
    int axis = inner - 1;
    for (; axis >= 0; --axis) {
      src += stride_[axis];
      if (++index[axis] < extent_[axis]) break;
      src -= stride_[axis] * extent_[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

template <class T> const char* RowReader<T>::run_of(std::int64_t row, Rows columns) const {
  return run_bytes_ == 0 ? nullptr : view_.data + row * view_.stride[0] + columns.begin * stride_[0];
}

template <class T> void RowReader<T>::prefetch(std::int64_t row, Rows columns) const {
  if (run_bytes(columns) > 0) ask_for<2>(run_of(row, columns), run_bytes(columns));
}

template <class T>
void RowReader<T>::read_columns(const std::int64_t* order, Rows rows, Rows columns, T* dst, std::int64_t stride) const {
  const char* const from = view_.data + columns.begin * stride_[0];
  for (std::int64_t r = rows.begin; r < rows.end; ++r, dst += stride) {
    const char* row = from + (order == nullptr ? r : order[r]) * view_.stride[0];
    read_run(row, stride_[0], columns.count(), columns.begin, dst);
  }
}

template <class T> void RowReader<T>::read(const std::int64_t* order, Rows rows, T* dst) const {
  const std::int64_t stride = view_.rank > 0 ? view_.stride[0] : 0;
  if (order == nullptr && offset_ == nullptr && axes_ == 1 && stride == row_size_ * stride_[0]) {
    return run_(view_.data + rows.begin * stride, stride_[0], rows.count() * row_size_, dst);
  }
  if (order == nullptr) {
    for (std::int64_t r = rows.begin; r < rows.end; ++r, dst += row_size_) read_row(view_.data + r * stride, dst);
    return;
  }
  // Shuffled rows miss the caches; the ones to come, of the next batch too, are asked for ahead: whole if they are
  // short, the hardware sees the run of a long one. A miss takes about 100 ns, a short row 5.
  constexpr std::int64_t kAhead = 20, kShort = 192;
  const std::int64_t bytes = run_bytes_ > 0 && run_bytes_ < kShort ? run_bytes_ : 1;
  for (std::int64_t r = rows.begin; r < rows.end; ++r, dst += row_size_) {
    if (r + kAhead < this->rows()) ask_for<3>(view_.data + order[r + kAhead] * stride, bytes);
    read_row(view_.data + order[r] * stride, dst);
  }
}

namespace {

constexpr double kOperations = 4;  // to convert a value and to look at it, as Watch counts

// The greatest magnitude after conversion, or one that is not finite; by blocks of about 64 KB, on as many threads as
// that is worth.
template <class T> double largest_of(const RowReader<T>& reader) {
  constexpr std::int64_t kBlockBytes = 64 << 10, kBytesPerThread = 1 << 20;
  const std::int64_t row = reader.row_size() * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t step = std::max<std::int64_t>(kBlockBytes / std::max<std::int64_t>(row, 1), 1);
  const std::int64_t worth = row * reader.rows() / kBytesPerThread;
  constexpr double kMost = static_cast<double>(std::numeric_limits<T>::max());
  std::atomic<double> largest{0};
  std::atomic<std::int64_t> next{0};  // row: whoever is free takes the next block
  run_team(static_cast<int>(std::clamp<std::int64_t>(worth, 1, num_threads())), [&](Team& team) {
    const T* direct = reader.direct();
    Buffer<T> block(direct == nullptr ? step * reader.row_size() : 0);
    for (std::int64_t r = next.fetch_add(step); r < reader.rows() && largest.load(std::memory_order_relaxed) <= kMost;
         r = next.fetch_add(step)) {
      const Rows rows{r, std::min(r + step, reader.rows())};
      if (direct == nullptr) reader.read(nullptr, rows, block.data());
      const T* values = direct == nullptr ? block.data() : direct + r * reader.row_size();
      const auto here = static_cast<double>(kernels<T>().max_abs(values, rows.count() * reader.row_size()));
      double most = largest.load(std::memory_order_relaxed);
      while (!(here <= most) && most <= kMost &&
             !largest.compare_exchange_weak(most, here, std::memory_order_relaxed)) {
      }
      team.look(kOperations * static_cast<double>(rows.count() * reader.row_size()));
    }
  });
  return largest;
}

}  // namespace

template <class T> FlawReport find_flaws(const ArrayView& view) {
  FlawReport report;
  if (!is_float(view.dtype)) {
    report.largest = static_cast<double>(std::numeric_limits<std::uint64_t>::max());
    return report;
  }
  const bool narrows = view.dtype == DType::kFloat64 && sizeof(T) == 4;
  RowReader<T> reader(view);
  report.largest = largest_of(reader);
  if (report.largest <= static_cast<double>(std::numeric_limits<T>::max())) return report;
  RowReader<double> exact(view);
  const std::int64_t size = view.row_size();
  Buffer<T> row(size);
  Buffer<double> wide(size);
  Watch watch;
  for (std::int64_t r = 0; r < view.rows() && size > 0; ++r) {
    watch.after(kOperations * static_cast<double>(size));
    const T* direct = reader.direct();
    const T* values = direct != nullptr ? direct + r * size : row.data();
    if (direct == nullptr) reader.read(nullptr, {r, r + 1}, row.data());
    if (kernels<T>().all_finite(values, size)) continue;
    exact.read(nullptr, {r, r + 1}, wide.data());
    for (std::int64_t i = 0; i < size; ++i) {
      if (std::isfinite(values[i])) continue;
      if (report.count++ > 0) continue;
      report.index = r * size + i;
      report.value = wide[i];
      report.kind = std::isnan(wide[i])                 ? Flaw::kNan
                    : narrows && std::isfinite(wide[i]) ? Flaw::kOverflow
                                                        : Flaw::kInfinite;
    }
  }
  return report;
}

template class RowReader<float>;
template class RowReader<double>;
template FlawReport find_flaws<float>(const ArrayView&);
template FlawReport find_flaws<double>(const ArrayView&);

}  // namespace bp
