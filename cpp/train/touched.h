// Parameters of which a batch touches some rows (ops/lookup.h): which rows these are, found once by the thread that has
// their tiles, and where gradients are collected which rows of them are not zero. So the gradient of a table and its
// clearing cost what the batch touches; so does the update by a formula that leaves a row without a gradient as it is
// (plain gradient descent and Adagrad, without decay), or that is told to (`lazy`).
#pragma once

#include "ops/lookup.h"
#include "train/tiles.h"
#include "train/workspace.h"

namespace bp {

template <class T> class Touched {
 public:
  Touched(const Workspace<T>& work, const Tiles<T>& tiles);

  // Whether its gradient is summed so: all that uses it are lookups, and it is large enough.
  bool has(int param) const { return has_[at(param)] != 0; }
  // Of such a one: rows that are not touched are left alone.
  bool leaves_rest(int param) const { return leaves_rest_[at(param)] != 0; }
  void make_room(int threads, std::int64_t n);  // for batches of n samples

  // What touches some rows, in the order of rows, and of the sum of each.
  struct Keys {
    const std::uint64_t *begin, *end;
  };
  Keys find(int param, Rows rows, std::int64_t n, int rank);
  // visit(row, keys of that row) for each of some rows that is touched; keys found for a batch of n.
  template <class Visit> void each(int param, Rows rows, const Keys& keys, std::int64_t n, Visit&& visit) const;
  void sum(int param, const Keys& of_row, std::int64_t n, Rows columns, T* g, bool add, T* scratch) const;

  // Of collected gradients: the rows of a tile that may not be zero.
  bool dirty(std::int64_t t) const { return dirty_[at(t)] != 0; }
  char* marks(std::int64_t t) { return marks_.data() + mark_at_[at(t)]; }
  void mark(std::int64_t t, std::int64_t row) {  // of the tile
    dirty_[at(t)] = 1;
    marks(t)[row] = 1;
  }
  void mark_all(std::int64_t t);
  void take_marks(const Touched& other) { dirty_ = other.dirty_, marks_ = other.marks_; }
  void mark_nonzero(std::int64_t t, const T* g);  // the rows of the tile that are not zero, and no others
  void clear(std::int64_t t, T* g);               // sets these rows of the tile's gradient to zero, and has none

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::uint64_t stride(int param, std::int64_t n) const;  // of keys, from row to row

  const Workspace<T>& work_;
  const Tiles<T>& tiles_;
  std::vector<std::vector<int>> uses_;  // steps, by parameter; none where no way leads from it to a loss
  std::vector<char> has_, leaves_rest_;
  std::vector<std::vector<std::uint64_t>> keys_;  // by thread
  std::vector<char> dirty_, marks_;               // by tile, by row of a tile
  std::vector<std::int64_t> mark_at_;
};

template <class T>
template <class Visit>
void Touched<T>::each(int param, Rows rows, const Keys& keys, std::int64_t n, Visit&& visit) const {
  const std::uint64_t step = stride(param, n);
  const auto first_of = [&](const std::uint64_t* from, std::int64_t row) {
    return std::lower_bound(from, keys.end, static_cast<std::uint64_t>(row) * step);
  };
  for (const std::uint64_t* key = first_of(keys.begin, rows.begin); key < keys.end;) {
    const auto row = static_cast<std::int64_t>(*key / step);
    if (row >= rows.end) return;
    const std::uint64_t* next = key;
    while (next < keys.end && *next / step == static_cast<std::uint64_t>(row)) ++next;
    visit(row, Keys{key, next});
    key = next;
  }
}

extern template class Touched<float>;
extern template class Touched<double>;

}  // namespace bp
