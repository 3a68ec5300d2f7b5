// What the recurrent layers differ in: one step in time, for some samples at once.
//
//   p = h, or what dropout leaves of it; G gates of U values; z = x W + b comes in, of all gates
//   simple_rnn   h' = f(z + p R)
//   lstm         i, f, o = s(z + p R), g = f(z + p R) in the order i, f, g, o;  c' = f c + i g, h' = o f(c')
//   gru          in the order z, r, a;  z, r = s(z + p R)
//                reset before: a = f(z_a + (r p) R_a)          (Cho et al. 2014)
//                reset after:  a = f(z_a + r (p R_a + b'_a)), z, r = s(z + (p R + b'))     (cuDNN, Keras, PyTorch)
//                h' = z h + (1 - z) a
// lstm: S. Hochreiter, J. Schmidhuber 1997, with the forget gate of F. Gers et al. 2000.
#pragma once

#include <algorithm>
#include <array>
#include <memory>

#include "ops/op.h"

namespace bp {

// Samples that go through time together: the product of a step reads all of R for them, and their states stay near.
constexpr std::int64_t kSamplesInStep = 32;
template <class T> using RowPointers = std::array<T*, kSamplesInStep>;

// Hands out parts of a scratch buffer, or, from null, counts them.
template <class T> class Parts {
 public:
  explicit Parts(T* begin) : begin_(begin) {}
  T* take(std::int64_t n) {
    T* const part = begin_ == nullptr ? nullptr : begin_ + taken_;
    taken_ += align_up<T>(n);
    return part;
  }
  std::int64_t taken() const { return taken_; }

 private:
  T* begin_;
  std::int64_t taken_ = 0;
};

// The arrays of a step, row by row of m samples; `held` rows are left alone.
template <class T> struct CellStep {
  std::int64_t m = 0;
  const char* held = nullptr;
  const T *r = nullptr, *r_turned = nullptr,
          *bias = nullptr;       // R (U, G U); its transpose, for backward; b' (G U) or null
  T *h = nullptr, *c = nullptr;  // (m, U)
  const T* operand = nullptr;    // p (m, U)
  T* z = nullptr;                // (m, G U)
  bool keeps = false;            // what backward needs is to be left where the following point, a row each
  RowPointers<T> gates{}, aux{};
  // Backward: h, c are dL/dh', dL/dc' and become what reaches h and c past the products; z becomes delta, what reached
  // the products with R, as gates do for those with W; dp what reached p.
  RowPointers<const T> h_before{}, operand_before{}, c_before{};
  T* dp = nullptr;
  T* scratch = nullptr;
};

template <class T> class Cell {
 public:
  Cell(std::int64_t units, std::int64_t gates, Compute compute)
      : units(units), gates(gates), compute(compute), products_(kernels<T>().products[static_cast<int>(compute)]) {}
  virtual ~Cell() = default;
  virtual void forward(CellStep<T>& s) const = 0;
  virtual void backward(CellStep<T>& s) const = 0;

  const std::int64_t units, gates;
  const Compute compute;  // of the products with R, and with W
  std::int64_t width() const { return gates * units; }
  int states = 1;
  // Columns of R whose operand, or whose delta, are kept apart, in `aux`; none: width().
  std::int64_t apart = 0;
  bool operand_apart = false;
  virtual std::int64_t scratch(std::int64_t m) const {
    return (m + 4) * align_up<T>(width() + units) + most_product(m);
  }

 protected:
  struct Gate {
    std::int64_t begin, end;  // of the columns
    Activation function;
    T alpha;
  };
  std::int64_t most_product(std::int64_t m) const;
  // z (m, some columns) = or += a R.
  void forward_product(const CellStep<T>& s, const T* a, std::int64_t lda, Rows columns, T* z, bool goes_on,
                       T* scratch) const;
  // dp = or += delta's columns times R's, turned.
  void backward_product(const CellStep<T>& s, Rows columns, T* dp, bool goes_on, T* scratch) const;
  void activate(const Gate& gate, T* z, T* kept) const;        // kept: what backward wants, or null
  void restore(const Gate& gate, const T* kept, T* a) const;   // from what was kept
  void back(const Gate& gate, const T* kept, T* delta) const;  // da becomes dz

  const Products<T>& products_;
};

// An activation of single values, by the attribute that names it.
template <class T> Activation function_of(const Node<T>& node, const char* key);

template <class T> std::unique_ptr<Cell<T>> make_cell(const Node<T>& node, std::int64_t units);

}  // namespace bp
