// The dense layers of a sweep whose every trained weight is of one, each used once: what curvature made of activations
// and deltas is for.
#pragma once

#include <string>

#include "solve/sweep.h"

namespace bp {

// Its trained weights as a matrix (R, O): a row of the kernel for each input, last the bias.
struct DenseLayer {
  std::size_t step;
  int param;  // the kernel, or the bias where that alone is trained
  std::int64_t in, out;
  std::vector<std::int64_t> offset;  // by row, its place in w
  bool kernel, bias;
  std::int64_t rows() const { return static_cast<std::int64_t>(offset.size()); }
};

// `other`: the first trained parameter, by its number, that is none of this kind, else -1.
template <class T> std::vector<DenseLayer> dense_layers(const Sweep<T>& sweep, int* other);

// a (R) of some samples of the chunk: the layer's input with a 1 for the bias, in double; to begins with row 0's.
template <class T> void homogeneous_inputs(Sweep<T>& sweep, const DenseLayer& layer, Rows rows, double* to);

// Of one column of deltas, which backward has left: the rows of J of some samples, each of its weights an activation
// times a delta; rows begin `stride` apart, with row 0 at `to`.
void rows_of_dense_layers(Sweep<double>& sweep, const std::vector<DenseLayer>& layers, Rows rows, double* to,
                          std::int64_t stride);

}  // namespace bp
