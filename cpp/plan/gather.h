// Rows of a user's array, converted to T, wherever they are and whatever they are made of. Nothing is copied as a
// whole.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/view.h"

namespace bp {

// What a value is read without: in double where it is so large that T would round away what tells values apart, else in
// T.
struct Offset {
  double value;
  bool wide;
};

template <class T> class RowReader {
 public:
  RowReader() = default;
  explicit RowReader(const ArrayView& view);
  // From now on offset[i mod size] is subtracted from value i of a row.
  void subtract(std::vector<Offset> offset);

  void read_as_ids();  // from now on (ops/ids.h)

  std::int64_t rows() const { return view_.rows(); }
  std::int64_t row_size() const { return row_size_; }
  int rank() const { return view_.rank; }
  // dst (rows.count(), row_size) from the rows order[begin..end) (order null: begin..end).
  void read(const std::int64_t* order, Rows rows, T* dst) const;
  // Some columns of the same, if has_columns(): dst is (rows.count(), columns.count()), rows `stride` apart.
  void read_columns(const std::int64_t* order, Rows rows, Rows columns, T* dst, std::int64_t stride) const;
  // Where some columns of a row lie, and their bytes, if rows are runs of memory (else null, 0).
  const char* run_of(std::int64_t row, Rows columns) const;
  std::int64_t run_bytes(Rows columns) const { return run_bytes_ == 0 ? 0 : columns.count() * stride_[0]; }
  void prefetch(std::int64_t row, Rows columns) const;  // to the level-2 cache, if the row is one run of memory
  bool has_columns() const { return axes_ == 1; }       // all at the same distance
  // The array itself where it already is what read() would make (else null).
  const T* direct() const;

 private:
  using Run = void (*)(const char* src, std::int64_t stride, std::int64_t n, T* dst);
  using WideRun = void (*)(const char* src, std::int64_t stride, std::int64_t n, double* dst);
  void read_row(const char* src, T* dst) const;
  void read_run(const char* src, std::int64_t stride, std::int64_t n, std::int64_t column, T* dst) const;

  ArrayView view_;
  std::int64_t row_size_ = 0;
  bool ids_ = false;
  Run run_ = nullptr;
  WideRun wide_run_ = nullptr;
  std::shared_ptr<const std::vector<Offset>> offset_;  // or null
  // The axes of a row, neighbours merged where memory allows; the last one is the run.
  int axes_ = 0;
  std::int64_t extent_[kMaxRank] = {}, stride_[kMaxRank] = {};
  std::int64_t run_bytes_ = 0;  // of a row that is one dense run, else 0
};

// The first value of a view that is not finite after conversion to T; if all are, the greatest magnitude.
enum class Flaw { kNone, kNan, kInfinite, kOverflow };
struct FlawReport {
  Flaw kind = Flaw::kNone;
  std::int64_t index = 0, count = 0;  // flat C-order index of the first, and how many there are
  double value = 0;
  double largest = 0;
};
template <class T> FlawReport find_flaws(const ArrayView& view);

}  // namespace bp
