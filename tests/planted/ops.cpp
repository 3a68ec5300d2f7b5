// The broken operations that prove the checks of tests/helpers/rows.py: y = x w, w (C) over the last axis, with one
// fault that the attribute `fault` names. This file takes the place of cpp/ops/table.cpp in a build with BP_PLANTED,
// which is for `nox -s planted` alone; no other build has it.
#define make_op make_sound_op
#include "ops/table.cpp"
#undef make_op

#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/threads.h"

namespace bp {
namespace {

template <class T> class Planted final : public Op<T> {
 public:
  Planted(const Shape& x, std::string fault)
      : chunks_(x), size_(size_of(x)), last_(x.back()), fault_(std::move(fault)) {
    this->sizes_.shape = x;
    this->sizes_.flops = size_;
  }

  std::int64_t scratch(std::int64_t) const override { return 8; }
  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t) const override {
    return chunks_.template scratch<T>(tile.size());
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    const std::int64_t begin = block.rows.begin * size_, end = block.rows.end * size_;
    const T slightly = 1 + std::numeric_limits<T>::epsilon();
    const T factor = is("a bit by the instruction set") && std::string(tier_name()) == "v3" ? slightly : T(1);
    for (std::int64_t i = begin; i < end; ++i) io.y[i] = factor * io.x[0][i] * io.w[0][i % last_];
    if (is("one element past the end")) io.y[end] = 0;
    if (is("one element before the beginning")) io.y[begin - 1] = 0;
    if (is("one element past the scratch")) scratch[8] = 0;
    if (is("an allocation a step")) {
      void* volatile memory = std::malloc(8);  // volatile: else a compiler may leave the pair of calls out
      std::free(memory);
    }
    if (is("a bit by the number of threads") && num_threads() > 1) io.y[begin] *= slightly;
    if (is("a bit by the block")) io.y[begin] *= slightly;
    if (is("a bit by the alignment") && reinterpret_cast<std::uintptr_t>(io.x[0]) % 64 != 0) io.y[begin] *= slightly;
    if (is("reads what nobody wrote")) io.y[begin] += std::min(std::abs(scratch[3]), T(1e-30)) * 0;
    if (is("forgets the last element") && size_ % 8 == 1) io.y[end - 1] = 0;
    if (is("wrong in float32") && sizeof(T) == 4) io.y[begin] *= T(1.001);
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    const T factor = is("a wrong gradient") ? T(1.0001) : T(1);
    const bool add = io.add[0] && !is("does not add");
    for (std::int64_t i = block.rows.begin * size_; i < block.rows.end * size_; ++i) {
      const T dx = factor * io.dy[i] * io.w[0][i % last_];
      io.dx[0][i] = add ? io.dx[0][i] + dx : dx;
    }
  }

  void accumulate(const Io<T>& io, int, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    const std::int64_t begin = tile.columns.begin, n = tile.columns.count();
    chunks_.template dot_columns<T>(io.x[0] + begin, nullptr, io.dy + begin, last_, rows, n, g, add, scratch);
    if (is("a wrong gradient of a weight")) g[0] *= T(1.0001);
    if (is("one element past a tile")) g[n] = 0;
    if (is("a bit by the tile") && n == 2) g[0] *= 1 + std::numeric_limits<T>::epsilon();
  }

 private:
  bool is(const char* fault) const { return fault_ == fault; }

  BatchChunks chunks_;
  std::int64_t size_, last_;
  std::string fault_;
};

}  // namespace

template <class T> OpPtr<T> make_op(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws) {
  if (spec.op != "planted") return make_sound_op(spec, xs, ws);
  const Node<T> node(spec, xs, ws);
  return std::make_unique<Planted<T>>(xs[0], node.text("fault"));
}

template OpPtr<float> make_op(const NodeSpec<float>&, const Shapes&, const Shapes&);
template OpPtr<double> make_op(const NodeSpec<double>&, const Shapes&, const Shapes&);

}  // namespace bp
