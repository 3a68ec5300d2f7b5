// A plan run on the worst terms that the contract of operations (ops/op.h) allows, for the tests: every array is an
// allocation of its own between guards, begins off the cache line (but for scratch) and is full of a pattern before it
// is written; samples come in blocks, the last block first; columns and tiles come in pieces. Nothing of that may
// change a bit, and no guard may be touched.
#pragma once

#include <cstdint>

#include "plan/plan.h"

namespace bp {

struct Terms {
  std::int64_t block = 0;     // samples of a call; 0: all of them
  std::int64_t piece = 0;     // columns and tile rows of a call; 0: all of them
  std::int64_t shift = 0;     // elements from a cache line to where an array begins
  std::uint16_t pattern = 0;  // every two bytes of what is not written yet: 0x7ff8 is NaN in either type
  bool add = false;  // gradients are added to ones, those of parameters block by block (in another order of sums)

  Terms of_scratch() const { return {block, piece, 0, pattern, add}; }
};

// n elements between guards. Only for tests, so errors are plain: std::logic_error.
template <class T> class Guarded {
 public:
  Guarded(std::int64_t n, const Terms& terms);
  T* data() { return memory_.data() + begin_; }
  std::int64_t size() const { return size_; }
  void fill();  // with the pattern
  void expect_whole(const std::string& what) const;

 private:
  Buffer<T> memory_;
  std::int64_t begin_, size_;
  std::uint16_t pattern_;
};

template <class T> class Rehearsal {
 public:
  // xs, dys: of n samples, by the graph's inputs and outputs; w_back: by parameter, what backward reads in its place,
  // or empty.
  Rehearsal(const std::shared_ptr<const Graph<T>>& graph, const std::vector<const T*>& xs,
            const std::vector<const T*>& dys, const std::vector<const T*>& w_back, std::int64_t n, const Terms& terms);

  const T* value(int v) { return values_[at(plan_.root(v))]; }
  const T* gradient(int v) { return gradients_[at(plan_.root(v))]; }  // null: no way from it to an output
  T* gradient_of_parameter(int p) { return parameter_gradients_[at(p)].data(); }
  T* parameter(int p) { return parameters_[at(p)].data(); }  // after the batch

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  T* make(std::int64_t n, const std::string& name);
  void allocate(const std::vector<const T*>& xs, const std::vector<const T*>& dys, const std::vector<const T*>& w_back);
  void forward(std::size_t s);
  void backward(std::size_t s);
  void accumulate(int param);
  void accumulate(int param, const Tile& tile, T* whole);
  void expect_whole(const std::string& who) const;
  template <class Call> void each_block(const Step<T>& step, bool forward, Call call);
  template <class Call> static void each_piece(std::int64_t n, std::int64_t step, Call call);

  const Graph<T>& graph_;
  const std::int64_t n_;
  const Terms terms_;
  Plan<T> plan_;
  std::vector<std::pair<std::string, Guarded<T>>> arrays_;
  std::vector<T*> values_, gradients_;
  std::vector<Guarded<T>> parameters_, parameter_gradients_;
  std::vector<Io<T>> io_;
};

extern template class Rehearsal<float>;
extern template class Rehearsal<double>;

}  // namespace bp
