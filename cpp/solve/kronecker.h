// J^T J of nets whose weights are all of dense layers, each used once, from activations and deltas instead of rows of
// J.
//
//   a_l (R) a layer's input with a 1 for the bias, d_lm (O) its delta of column m:  dz_m / dw_l(i, k) = a_l(i) d_lm(k)
//   Q of layers l, l' at (i, k), (j, k') = sum over samples of a_l(i) a_l'(j) S(k, k'),  S = sum over m of d_lm(k)
//   d_l'm(k')
// a product of (i j, samples) with (samples, k k'): its work does not depend on the number of outputs. Of a layer with
// itself only i <= j and k <= k' are computed. Samples in chunks, whose sums are added in order.
#pragma once

#include "solve/dense_layers.h"

namespace bp {

class KroneckerSquare {
 public:
  // Whether the sweep's weights are of this kind, and a chunk of that number of samples takes little memory.
  static bool fits(const Sweep<double>& sweep, std::int64_t samples);

  KroneckerSquare(const Sweep<double>& sweep, std::int64_t samples, std::int64_t columns);
  void make_room(int threads);
  void keep_inputs(Sweep<double>& sweep, const Part& part);                       // after forward
  void keep_deltas(Sweep<double>& sweep, const Part& part, std::int64_t column);  // after the backward pass of a column
  void add(const Part& part);                                                     // after a barrier; ends with one
  void finish(double* q, std::int64_t size) const;                                // into Q's upper triangle

 private:
  struct Layer : DenseLayer {
    explicit Layer(DenseLayer layer) : DenseLayer(std::move(layer)) {}
    Buffer<double> inputs, deltas;  // (samples, R), (columns, samples, O)
  };
  struct Pair {
    std::size_t first, second;
    std::int64_t products, outers;  // i j and k k'
    Buffer<double> sum;             // (products, outers)
  };
  void make_outer(const Pair& pair, Rows mine);
  void add_product(const Part& part, Pair& pair);

  std::int64_t samples_, columns_;
  std::vector<Layer> layers_;
  std::vector<Pair> pairs_;
  Buffer<double> outer_;  // S of the pair in work: (samples, k k')
  struct Scratch {
    Buffer<double> products, matmul;
  };
  std::vector<Scratch> scratch_;
};

}  // namespace bp
