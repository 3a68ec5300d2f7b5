// scale: y = x * w, w over the last axis or one number for all.
//
//   x (N, .., C)  w (C) or (1)  y like x;  P = product of the axes before the last
//   dx = dy * w          dw = sum of dy * x over N, P (and C, if w is one number), over the whole batch
// Kept: x. Flops a sample: P C forward, twice that backward.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Scale final : public Op<T> {
 public:
  Scale(const Shape& x, std::int64_t n_weights)
      : chunks_(x), last_(x.back()), inner_(chunks_.positions()), one_(n_weights == 1) {
    this->sizes_.shape = x;
    this->sizes_.flops = inner_ * last_;
    this->facts_.differential = Differential::kAffine;
    this->facts_.keeps_probabilities = true;
    this->facts_.steepness = 1;
  }
  std::int64_t scratch(std::int64_t rows) const override { return align_up<T>(last_) + rows * inner_ * last_; }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows;
    const std::int64_t offset = rows.begin * inner_ * last_;
    kernels<T>().affine_rows(io.x[0] + offset, io.y + offset, last_, rows.count() * inner_, last_, nullptr,
                             weights(io.w[0], scratch), nullptr);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows;
    if (io.dx[0] == nullptr) return;
    const std::int64_t offset = rows.begin * inner_ * last_, m = rows.count() * inner_;
    T* dx = io.add[0] ? scratch + align_up<T>(last_) : io.dx[0] + offset;
    kernels<T>().affine_rows(io.dy + offset, dx, last_, m, last_, nullptr, weights(io.w_back[0], scratch), nullptr);
    if (io.add[0]) kernels<T>().axpy(T(1), dx, io.dx[0] + offset, m * last_);
  }

  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t) const override {
    return one_ ? align_up<T>(last_) + chunks_.template scratch<T>(last_) : chunks_.template scratch<T>(tile.size());
  }

  void accumulate(const Io<T>& io, int, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    if (!one_) {
      const std::int64_t begin = tile.columns.begin, n = tile.columns.count();
      return chunks_.template dot_columns<T>(io.x[0] + begin, nullptr, io.dy + begin, last_, rows, n, g, add, scratch);
    }
    T *const sums = scratch, *const rest = scratch + align_up<T>(last_);
    chunks_.template dot_columns<T>(io.x[0], nullptr, io.dy, last_, rows, last_, sums, false, rest);
    T total = 0;
    for (std::int64_t j = 0; j < last_; ++j) total += sums[j];
    g[0] = add ? g[0] + total : total;
  }

 private:
  const T* weights(const T* w, T* scratch) const {
    if (!one_) return w;
    std::fill_n(scratch, last_, w[0]);
    return scratch;
  }
  BatchChunks chunks_;
  std::int64_t last_, inner_;
  bool one_;
};

}  // namespace

template <class T> OpPtr<T> make_scale(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  node.expect(xs.size() == 1 && !xs[0].empty() && xs[0].back() > 0, "scale takes one input of rank 1 or more");
  node.expect(ws.size() == 1 && ws[0].size() == 1 && (ws[0][0] == 1 || ws[0][0] == xs[0].back()),
              "expected weights of the last axis, or one");
  return std::make_unique<Scale<T>>(xs[0], ws[0][0]);
}
BP_INSTANTIATE_MAKER(make_scale)

}  // namespace bp
