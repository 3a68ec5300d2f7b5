// place: positions of the result take values of the input: zeros around it, a part of it, or each value several times.
//
//   x (N, H, W, C)  y (N, P, Q, C), of sequences (N, T, C), (N, Q, C)
//   y[p, q] = x[(p - before) / repeat, (q - before) / repeat], rounded down, 0 outside of x; each axis has its own
//   numbers dx[i, j] = sum of dy over the positions that take x[i, j], in their order                     Cost: a copy.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

struct Placed {
  std::int64_t in = 1, out = 1, before = 0, repeat = 1;
  std::int64_t source(std::int64_t o) const {  // -1: none
    if (o < before) return -1;
    const std::int64_t i = (o - before) / repeat;
    return i < in ? i : -1;
  }
};

template <class T> class Place final : public Op<T> {
 public:
  Place(Shape shape, const Placed& rows, const Placed& columns) : rows_(rows), columns_(columns), width_(shape.back()) {
    this->sizes_.shape = std::move(shape);
    this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    each_position(block.rows, [&](std::int64_t to, std::int64_t from) {
      if (from < 0) {
        std::fill_n(io.y + to, width_, T(0));
      } else {
        std::copy_n(io.x[0] + from, width_, io.y + to);
      }
    });
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    const std::int64_t size = rows_.in * columns_.in * width_;
    if (!io.add[0]) std::fill_n(io.dx[0] + block.rows.begin * size, block.rows.count() * size, T(0));
    each_position(block.rows, [&](std::int64_t to, std::int64_t from) {
      if (from >= 0) kernels<T>().axpy(T(1), io.dy + to, io.dx[0] + from, width_);
    });
  }

 private:
  // Where the channels of each position lie in y, and in x: -1 where there are none.
  template <class Take> void each_position(Rows samples, Take take) const {
    for (std::int64_t n = samples.begin, to = n * rows_.out * columns_.out * width_; n < samples.end; ++n) {
      for (std::int64_t p = 0; p < rows_.out; ++p) {
        const std::int64_t i = rows_.source(p);
        for (std::int64_t q = 0; q < columns_.out; ++q, to += width_) {
          const std::int64_t j = columns_.source(q);
          take(to, i < 0 || j < 0 ? -1 : ((n * rows_.in + i) * columns_.in + j) * width_);
        }
      }
    }
  }

  Placed rows_, columns_;
  std::int64_t width_;
};

}  // namespace

template <class T> OpPtr<T> make_place(const Node<T>& node) {
  node.expect(node.xs.size() == 1 && (node.xs[0].size() == 2 || node.xs[0].size() == 3),
              "place takes one input, (N, T, C) or (N, H, W, C)");
  const Shape &x = node.xs[0], out = node.integers("out"), before = node.integers("before"),
              repeat = node.integers("repeat");
  const std::size_t rank = x.size() - 1;
  node.expect(out.size() == rank && before.size() == rank && repeat.size() == rank, "expected a number for each axis");
  Placed rows, columns;
  for (std::size_t i = 0; i < rank; ++i) {
    node.expect(out[i] > 0 && repeat[i] > 0, "sizes and repeats are at least 1");
    Placed& axis = i + 1 == rank ? columns : rows;
    axis.in = x[i], axis.out = out[i], axis.before = before[i], axis.repeat = repeat[i];
  }
  Shape shape = out;
  shape.push_back(x.back());
  size_of(shape);
  return std::make_unique<Place<T>>(std::move(shape), rows, columns);
}
BP_INSTANTIATE_MAKER(make_place)

}  // namespace bp
