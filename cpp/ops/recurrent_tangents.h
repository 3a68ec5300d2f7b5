// Derivatives of recurrent layers in a direction of their weights, inputs and states: of forward, of backpropagation
// through time and of the gradients, for exact products with the Hessian (R. Pearlmutter 1994).
//
// A cell is written down once more, in dual numbers: v + d e with e^2 = 0, so that d is the derivative of v. Backward's
// own formulas in dual numbers are the derivative of backward. One sample after another, products as sums of rows: the
// work is of the order of the passes', their speed is not the aim here.
#pragma once

#include "ops/recurrent_cells.h"

namespace bp {

// Where a recurrent layer has its arrays; see ops/recurrent.cpp.
struct RecurrentLayout {
  std::int64_t steps, in, units, width, y_size, row_size, step_size;
  std::int64_t operand_at, h_at, c_at, aux_at;  // in what is kept of a step
  std::int64_t apart;
  bool bias, masked, initial, dropped, sequences, states, backwards, operand_apart;
  int cell_states, next_input;
};

template <class T> class CellTangents;

template <class T> class RecurrentTangents {
 public:
  RecurrentTangents(const Node<T>& node, const RecurrentLayout& layout);
  ~RecurrentTangents();

  std::int64_t scratch() const;
  // As Op's functions of these names. What is kept of a step in t is the derivative of what is kept in io: of the
  // gates that of z, which backward turns into that of delta.
  void forward(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const;
  void backward(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const;
  void accumulate(const Io<T>& io, const Io<T>& t, int param, Rows rows, T* g, bool add) const;

 private:
  void forward_sample(const Io<T>& io, const Io<T>& t, std::int64_t row, T* scratch) const;
  void backward_sample(const Io<T>& io, const Io<T>& t, std::int64_t row, T* scratch) const;
  std::int64_t length(const Io<T>& io, std::int64_t row) const;
  bool counts(const Io<T>& io, std::int64_t row, std::int64_t step) const;
  const T* drop(const Io<T>& io, std::int64_t row) const;
  T* kept(const Io<T>& io, std::int64_t row, std::int64_t step) const {
    return io.saved + (row * at_.steps + step) * at_.step_size;
  }

  RecurrentLayout at_;
  std::unique_ptr<CellTangents<T>> cell_;
};

}  // namespace bp
