// python: a layer the user wrote. It sees the whole batch at once, on one thread, between two barriers.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class UserLayerOp final : public Op<T> {
 public:
  UserLayerOp(std::shared_ptr<UserLayer<T>> layer, const Shape& shape, const Shapes& xs, const Shapes& ws)
      : layer_(std::move(layer)), x_shapes_(xs), y_size_(size_of(shape)) {
    this->sizes_.shape = shape;
    this->facts_.partition = Partition::kWhole;
    for (const Shape& x : xs) x_sizes_.push_back(size_of(x));
    for (const Shape& w : ws) widths_.push_back(w.empty() ? 1 : w.back());
  }

  std::int64_t scratch(std::int64_t rows) const override {
    std::int64_t total = 0;
    for (std::int64_t size : x_sizes_) total += align_up<T>(rows * size);
    return total;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const Rows rows = block.rows;
    std::vector<const T*> xs;
    for (std::size_t i = 0; i < x_sizes_.size(); ++i) xs.push_back(io.x[i] + rows.begin * x_sizes_[i]);
    layer_->forward(xs, x_shapes_, rows.count(), io.training, io.y + rows.begin * y_size_);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows;
    std::vector<T*> dx;
    T* next = scratch;
    for (std::size_t i = 0; i < x_sizes_.size(); ++i) {
      T* target = io.dx[i] == nullptr ? nullptr : io.dx[i] + rows.begin * x_sizes_[i];
      if (target != nullptr && io.add[i]) {
        target = next;
        next += align_up<T>(rows.count() * x_sizes_[i]);
      }
      dx.push_back(target);
    }
    layer_->backward(io.dy + rows.begin * y_size_, x_shapes_, rows.count(), dx);
    for (std::size_t i = 0; i < x_sizes_.size(); ++i) {
      if (io.dx[i] == nullptr || !io.add[i]) continue;
      kernels<T>().axpy(T(1), dx[i], io.dx[i] + rows.begin * x_sizes_[i], rows.count() * x_sizes_[i]);
    }
  }

  void accumulate(const Io<T>&, int param, const Tile& tile, Rows, T* g, bool add, T*) const override {
    const std::int64_t width = widths_[static_cast<std::size_t>(param)], columns = tile.columns.count();
    for (std::int64_t row = tile.rows.begin; row < tile.rows.end; ++row, g += columns) {
      const T* from = layer_->grad(param) + row * width + tile.columns.begin;
      if (add) {
        kernels<T>().axpy(T(1), from, g, columns);
      } else {
        std::copy_n(from, columns, g);
      }
    }
  }

 private:
  std::shared_ptr<UserLayer<T>> layer_;
  Shapes x_shapes_;
  std::vector<std::int64_t> x_sizes_, widths_;  // of an input's sample, of a parameter's row
  std::int64_t y_size_;
};

}  // namespace

template <class T> OpPtr<T> make_user_layer(const Node<T>& node) {
  return std::make_unique<UserLayerOp<T>>(node.user_layer("layer"), node.integers("shape"), node.xs, node.ws);
}
BP_INSTANTIATE_MAKER(make_user_layer)

}  // namespace bp
