// python: a layer the user wrote. It sees the whole batch at once, on one thread, between two barriers.
#include "ops/makers.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class CallbackOp final : public Op<T> {
 public:
  CallbackOp(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws) : callback_(spec.callback), x_shapes_(xs) {
    this->shape = spec.shape;
    for (const Shape& x : xs) sizes_.push_back(size_of(x));
    for (const Shape& w : ws) row_sizes_.push_back(w.empty() ? 1 : size_of(w) / std::max<std::int64_t>(w[0], 1));
  }
  Partition partition(bool) const override { return Partition::kWhole; }

  std::int64_t scratch_size(std::int64_t rows) const override {
    std::int64_t total = 0;
    for (std::int64_t size : sizes_) total += align_up<T>(rows * size);
    return total;
  }

  void forward(const Io<T>& io, Rows rows, T*) const override {
    std::vector<const T*> xs;
    for (std::size_t i = 0; i < sizes_.size(); ++i) xs.push_back(io.x[i] + rows.begin * sizes_[i]);
    callback_->forward(xs, x_shapes_, rows.count(), io.training, io.y + rows.begin * size_of(this->shape));
  }

  void backward(const Io<T>& io, Rows rows, T* scratch) const override {
    std::vector<T*> dx;
    T* next = scratch;
    for (std::size_t i = 0; i < sizes_.size(); ++i) {
      T* target = io.dx[i] == nullptr ? nullptr : io.dx[i] + rows.begin * sizes_[i];
      if (target != nullptr && io.add[i]) {
        target = next;
        next += align_up<T>(rows.count() * sizes_[i]);
      }
      dx.push_back(target);
    }
    callback_->backward(io.dy + rows.begin * size_of(this->shape), x_shapes_, rows.count(), dx);
    for (std::size_t i = 0; i < sizes_.size(); ++i) {
      if (io.dx[i] == nullptr || !io.add[i]) continue;
      kernels<T>().axpy(T(1), dx[i], io.dx[i] + rows.begin * sizes_[i], rows.count() * sizes_[i]);
    }
  }

  void accumulate(const Io<T>&, int param, const Tile& tile, std::int64_t, T* g, bool add, T*) const override {
    const std::int64_t width = row_sizes_[static_cast<std::size_t>(param)], columns = tile.columns.count();
    for (std::int64_t row = tile.rows.begin; row < tile.rows.end; ++row, g += columns) {
      const T* from = callback_->grad(param) + row * width + tile.columns.begin;
      if (add) {
        kernels<T>().axpy(T(1), from, g, columns);
      } else {
        std::copy_n(from, columns, g);
      }
    }
  }

 private:
  std::shared_ptr<LayerCallback<T>> callback_;
  Shapes x_shapes_;
  std::vector<std::int64_t> sizes_, row_sizes_;
};

}  // namespace

template <class T> OpPtr<T> make_callback(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws) {
  check(spec.callback != nullptr, spec.name + ": a python node needs its callback");
  return std::make_unique<CallbackOp<T>>(spec, xs, ws);
}
BP_INSTANTIATE_MAKER(make_callback)

}  // namespace bp
