// A layer whose forward, backward and gradient are a matrix product each, and all that is done with one: it is divided
// by rows (samples), by columns of the result, by depth (the terms of its sums) or by tiles of the weights.
//
//   M = samples times positions (the axes between)
//   z (M, O) = x (M, I) w + b     y = f(z)
//   delta = dy f'(z)              written over dy
//   dx = delta w^T                dw = x^T delta, db = sum of delta over M
// transposed: w (O, I), the weights of another layer: w^T in place of w, and dw = delta^T x.
// Whatever the part, an element of z and dx is one chain over all terms, and of dw the chains of the batch's chunks:
// bits do not depend on how the work was divided.
#pragma once

#include "ops/op.h"
#include "ops/rounding.h"

namespace bp {

// A thread that takes its rows of a product with B (k x n) reads, and packs, all of B. From a megabyte of it on it is
// cheaper to take all rows and part of B's columns, and to wait at a barrier (1024-2048-2048-100, batch 256: measured
// 27 against 22 ms).
constexpr std::int64_t kColumnWeights = 1 << 18, kColumnWidth = 256;
constexpr bool columns_pay(std::int64_t k, std::int64_t n) { return k * n >= kColumnWeights && n >= kColumnWidth; }

// Rows of a gradient that a thread takes at once: a few starve the matrix kernel, which wants two register tiles of up
// to 14, or two AMX tiles of 16. They are a multiple of terms_at_once(), as forward's sums may be cut where tiles of
// the weights are.
constexpr std::int64_t kTileRows = 28;
constexpr std::int64_t tile_rows(Compute compute) { return compute == Compute::kTiles ? 32 : kTileRows; }

// Cuts C = op(A) op(B) down to some of its rows, some of its columns, some of the terms of its sums (those after the
// first ones go on from what C holds). In place: a copy would wait for the stores before it, in products of a
// microsecond.
template <class T> void take_rows(Matmul<T>& p, Rows rows) {
  p.m = rows.count();
  p.a += rows.begin * (p.a_transposed ? 1 : p.lda);
  p.c += rows.begin * p.ldc;
}
template <class T> void take_columns(Matmul<T>& p, Rows columns) {
  p.n = columns.count();
  p.b += columns.begin * (p.b_transposed ? p.ldb : 1);
  p.c += columns.begin;
  if (p.bias != nullptr) p.bias += columns.begin;
}
template <class T> void take_depth(Matmul<T>& p, Rows depth) {
  p.k = depth.count();
  p.a += depth.begin * (p.a_transposed ? p.lda : 1);
  p.b += depth.begin * (p.b_transposed ? 1 : p.ldb);
  p.goes_on = depth.begin > 0;
  if (p.goes_on) p.bias = nullptr;
}

// Where the arrays of a product are, for all samples.
template <class T> struct ProductArrays {
  const T* x;
  std::int64_t x_stride;  // from row to row
  const T *w, *w_back, *bias;
  T *z, *y;  // the same array where z is not kept
  T *delta, *dx;
  bool add_dx;
};

template <class T> class Product {
 public:
  static constexpr int kWeights = 0, kBias = 1;  // among the op's parameters

  // allowed: by compute=, to be used where it pays.
  Product(const Shape& x, const Shape& w, bool has_bias, bool transposed, Compute allowed);

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  std::int64_t saved_size() const { return keeps_z() ? chunks_.positions() * out_ : 0; }
  std::int64_t flops() const { return 2 * chunks_.positions() * in_ * out_; }
  bool by_columns() const { return columns_pay(in_, out_); }
  bool by_depth() const { return chunks_.positions() == 1 && !transposed_; }  // at a multiple of tile_rows()
  Compute compute() const { return compute_; }
  std::int64_t samples_of_a_chunk() const { return chunks_.samples(); }  // 0: a chunk is no run of rows
  bool fuse(Activation f, T alpha);

  ProductArrays<T> arrays(const Io<T>& io) const;

  // Scratch is enough for as many samples and as large a part, and for less.
  std::int64_t scratch(std::int64_t samples) const;                             // of forward or backward
  std::int64_t gradient_scratch(const Tile& tile, std::int64_t samples) const;  // of w, or of b seen as one row
  std::int64_t subtraction_scratch(const Tile& tile, std::int64_t samples) const;

  // Some columns of z and y. depth: of the sums; the last part finishes y. soon: what the thread wants next.
  void forward(const ProductArrays<T>& at, Rows samples, Rows columns, T* scratch) const {
    forward(at, samples, columns, {0, in_}, {}, scratch);
  }
  void forward(const ProductArrays<T>& at, Rows samples, Rows columns, Rows depth, const Runs& soon, T* scratch) const;
  void find_delta(const ProductArrays<T>& at, Rows samples) const;                          // before the next two
  void backward(const ProductArrays<T>& at, Rows samples, Rows columns, T* scratch) const;  // some columns of dx
  // Of a tile of w, compact, in g.
  void gradient(const ProductArrays<T>& at, Rows samples, const Tile& tile, T* g, bool add, T* scratch) const;
  void bias_gradient(const ProductArrays<T>& at, Rows samples, Rows columns, T* g, bool add, T* scratch) const;
  // Plain gradient descent without an array for the gradient: w -= rate times it in one rounding, with the bits of
  // gradient() and the optimizer's update, for a tile of any height and samples that are one chunk. w is the whole
  // matrix.
  void subtract_gradient(const ProductArrays<T>& at, Rows samples, const Tile& tile, T rate, T* w, T* scratch) const;

 private:
  const Products<T>& products() const { return kernels<T>().products[static_cast<int>(compute_)]; }
  bool keeps_z() const { return function_ != Activation::kLinear && activation_keeps_z(function_); }
  Matmul<T> forward_product(const ProductArrays<T>& at, std::int64_t samples) const;
  Matmul<T> backward_product(const ProductArrays<T>& at, std::int64_t samples) const;
  Matmul<T> gradient_product(const ProductArrays<T>& at, Rows rows, const Tile& tile) const;
  void run(Matmul<T>& product, T* scratch) const {
    product.scratch = scratch;
    products().run(product);
  }

  std::int64_t in_, out_, w_stride_;
  bool has_bias_, transposed_;
  Compute compute_;
  BatchChunks chunks_;
  Activation function_ = Activation::kLinear;
  T alpha_ = 0;
};

}  // namespace bp
