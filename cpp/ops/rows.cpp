// rows: a part of each sample, along its first axis; with `drop` it is one row, without that axis.
//
//   x (N, R, ..)   y (N, end - begin, ..) or (N, ..)   y_i = x_{begin + i};  dx_{begin + i} = dy_i, 0 elsewhere.  Cost:
//   a copy.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class SomeRows final : public Op<T> {
 public:
  SomeRows(const Shape& x, Rows part, bool drop)
      : size_(size_of(x)), offset_(part.begin * size_of({x.begin() + 1, x.end()})),
        count_(part.count() * size_of({x.begin() + 1, x.end()})) {
    this->sizes_.shape = x;
    this->sizes_.shape[0] = part.count();
    if (drop) this->sizes_.shape.erase(this->sizes_.shape.begin());
    this->facts_.keeps_probabilities = true;
    this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      std::copy_n(io.x[0] + r * size_ + offset_, count_, io.y + r * count_);
    }
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      T* const dx = io.dx[0] + r * size_;
      if (io.add[0]) {
        kernels<T>().axpy(T(1), io.dy + r * count_, dx + offset_, count_);
        continue;
      }
      std::fill_n(dx, offset_, T(0));
      std::copy_n(io.dy + r * count_, count_, dx + offset_);
      std::fill_n(dx + offset_ + count_, size_ - offset_ - count_, T(0));
    }
  }

 private:
  std::int64_t size_, offset_, count_;
};

}  // namespace

template <class T> OpPtr<T> make_rows(const Node<T>& node) {
  node.expect(node.xs.size() == 1 && !node.xs[0].empty(), "rows takes one input with an axis");
  const Rows part{node.integer("begin"), node.integer("end")};
  node.expect(0 <= part.begin && part.begin <= part.end && part.end <= node.xs[0][0], "there are fewer rows");
  const bool drop = node.flag("drop");
  node.expect(!drop || part.count() == 1, "only one row can lose its axis");
  return std::make_unique<SomeRows<T>>(node.xs[0], part, drop);
}
BP_INSTANTIATE_MAKER(make_rows)

}  // namespace bp
