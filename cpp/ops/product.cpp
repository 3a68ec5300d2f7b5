#include "ops/product.h"

#include <algorithm>

namespace bp {

template <class T>
Product<T>::Product(const Shape& x, const Shape& w, bool has_bias, bool transposed, Compute allowed)
    : in_(w[transposed ? 1 : 0]), out_(w[transposed ? 0 : 1]), w_stride_(w[1]), has_bias_(has_bias),
      transposed_(transposed), compute_(where_it_pays(allowed, in_, out_)), chunks_(x, terms_at_once(compute_)) {}

template <class T> bool Product<T>::fuse(Activation f, T alpha) {
  if (function_ != Activation::kLinear) return false;
  function_ = f;
  alpha_ = alpha;
  return true;
}

template <class T> ProductArrays<T> Product<T>::arrays(const Io<T>& io) const {
  T* z = keeps_z() && io.saved != nullptr ? io.saved : io.y;
  return {io.x[0], in_,   io.w[kWeights], io.w_back[kWeights], has_bias_ ? io.w[kBias] : nullptr, z,
          io.y,    io.dy, io.dx[0],       io.add[0] != 0};
}

// All rows and columns of each product, of a number of samples.
template <class T> Matmul<T> Product<T>::forward_product(const ProductArrays<T>& at, std::int64_t samples) const {
  Matmul<T> p{};
  p.m = samples * chunks_.positions(), p.n = out_, p.k = in_;
  p.a = at.x, p.lda = at.x_stride;
  p.b = at.w, p.ldb = w_stride_, p.b_transposed = transposed_;
  p.c = at.z, p.ldc = out_;
  p.bias = at.bias;
  return p;
}

template <class T> Matmul<T> Product<T>::backward_product(const ProductArrays<T>& at, std::int64_t samples) const {
  Matmul<T> p{};
  p.m = samples * chunks_.positions(), p.n = in_, p.k = out_;
  p.a = at.delta, p.lda = out_;
  p.b = at.w_back, p.ldb = w_stride_, p.b_transposed = !transposed_;
  p.c = at.dx, p.ldc = in_;
  p.add = at.add_dx;
  return p;
}

// Of some rows of x and delta. C stays to be filled in.
template <class T>
Matmul<T> Product<T>::gradient_product(const ProductArrays<T>& at, Rows rows, const Tile& tile) const {
  Matmul<T> p{};
  p.m = tile.rows.count(), p.n = tile.columns.count(), p.k = rows.count();
  p.lda = transposed_ ? out_ : at.x_stride, p.ldb = transposed_ ? at.x_stride : out_;
  p.a = (transposed_ ? at.delta : at.x) + rows.begin * p.lda + tile.rows.begin, p.a_transposed = true;
  p.b = (transposed_ ? at.x : at.delta) + rows.begin * p.ldb + tile.columns.begin;
  p.ldc = tile.columns.count();
  return p;
}

template <class T> std::int64_t Product<T>::scratch(std::int64_t samples) const {
  ProductArrays<T> none{};
  none.add_dx = true;  // needs more than without
  return std::max(products().most_scratch(forward_product(none, samples)),
                  products().most_scratch(backward_product(none, samples)));
}

// A shared layer, or gradients of earlier batches, are added: that needs more than without.
template <class T> std::int64_t Product<T>::gradient_scratch(const Tile& tile, std::int64_t samples) const {
  const std::int64_t pieces = chunks_.template scratch<T>(tile.size());
  const std::int64_t rows = pieces > 0 ? BatchChunks::kPositions : samples * chunks_.positions();
  Matmul<T> p = gradient_product({}, {0, rows}, {{0, tile.rows.count()}, {0, tile.columns.count()}});
  p.chunk = chunks_.rows(), p.add = pieces == 0;
  return pieces + products().most_scratch(p);
}

template <class T> std::int64_t Product<T>::subtraction_scratch(const Tile& tile, std::int64_t samples) const {
  Matmul<T> p =
      gradient_product({}, chunks_.rows_of({0, samples}), {{0, tile.rows.count()}, {0, tile.columns.count()}});
  p.chunk = chunks_.rows(), p.add = true, p.rate = T(1);
  return products().most_scratch(p);
}

template <class T>
void Product<T>::forward(const ProductArrays<T>& at, Rows samples, Rows columns, Rows depth, const Runs& soon,
                         T* scratch) const {
  const Rows rows = chunks_.rows_of(samples);
  Matmul<T> p = forward_product(at, 0);
  take_rows(p, rows), take_columns(p, columns), take_depth(p, depth);
  p.soon = soon;
  run(p, scratch);
  if (depth.end < in_ || function_ == Activation::kLinear) return;
  const std::int64_t offset = rows.begin * out_ + columns.begin;
  const T* z = at.z + offset;
  T* y = at.y + offset;
  const auto activate = kernels<T>().activate[static_cast<int>(function_)];
  if (columns.count() == out_) return activate(z, y, rows.count() * out_, alpha_);
  for (std::int64_t i = 0; i < rows.count(); ++i) activate(z + i * out_, y + i * out_, columns.count(), alpha_);
}

template <class T> void Product<T>::find_delta(const ProductArrays<T>& at, Rows samples) const {
  if (function_ == Activation::kLinear) return;
  const Rows rows = chunks_.rows_of(samples);
  const std::int64_t offset = rows.begin * out_;
  const T* kept = (keeps_z() ? at.z : at.y) + offset;
  T* delta = at.delta + offset;
  kernels<T>().activate_back[static_cast<int>(function_)](kept, delta, delta, rows.count() * out_, alpha_);
}

template <class T> void Product<T>::backward(const ProductArrays<T>& at, Rows samples, Rows columns, T* scratch) const {
  if (at.dx == nullptr) return;
  Matmul<T> p = backward_product(at, 0);
  take_rows(p, chunks_.rows_of(samples)), take_columns(p, columns);
  run(p, scratch);
}

template <class T>
void Product<T>::gradient(const ProductArrays<T>& at, Rows samples, const Tile& tile, T* g, bool add,
                          T* scratch) const {
  if (const std::int64_t chunk = chunks_.rows(); chunk > 0) {
    Matmul<T> p = gradient_product(at, chunks_.rows_of(samples), tile);
    p.c = g, p.add = add, p.chunk = chunk;
    return run(p, scratch);
  }
  T* const rest = scratch + chunks_.template scratch<T>(tile.size());
  chunks_.sum_pieces(samples, tile.size(), g, add, scratch, [&](Rows rows, Chain chain, T* to) {
    Matmul<T> p = gradient_product(at, rows, tile);
    p.c = to, p.goes_on = chain == Chain::kGoesOn;
    run(p, rest);
  });
}

template <class T>
void Product<T>::subtract_gradient(const ProductArrays<T>& at, Rows samples, const Tile& tile, T rate, T* w,
                                   T* scratch) const {
  if (rate == 0) return;
  Matmul<T> p = gradient_product(at, chunks_.rows_of(samples), tile);
  p.c = w + tile.rows.begin * w_stride_ + tile.columns.begin, p.ldc = w_stride_;
  p.chunk = chunks_.rows(), p.add = true, p.rate = rate;
  run(p, scratch);
}

template <class T>
void Product<T>::bias_gradient(const ProductArrays<T>& at, Rows samples, Rows columns, T* g, bool add,
                               T* scratch) const {
  chunks_.sum_columns(at.delta + columns.begin, out_, samples, columns.count(), g, add, scratch);
}

template class Product<float>;
template class Product<double>;

}  // namespace bp
