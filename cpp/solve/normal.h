// Gauss-Newton's matrix of a data set: Q = sum of J_n^T H_n J_n over the samples, H = S S^T the curvature of the losses
// in the predictions (solve/curvature.h), and the gradient. For squared errors J^T J and J^T e, but for a factor.
//
// Rows j = (S^T J) of a chunk are made by backpropagation of the columns of S, one column for all samples at a time,
// and Q += j^T j is a product (Wilamowski & Yu, 2010): J is never stored. Of dense layers not even rows of it are made
// (solve/kronecker.h). Memory: Q, P^2, and what a chunk takes.
#pragma once

#include "solve/curvature.h"
#include "solve/kronecker.h"
#include "solve/sweep.h"

namespace bp {

class NormalEquations {
 public:
  // Every loss has a factor: BadInput otherwise. Each matrix of P^2 takes 8 P^2 bytes.
  explicit NormalEquations(Sweep<double>& sweep);

  // At the weights as they are. Returns the mean loss (without penalties); afterwards matrix() and gradient() are those
  // of the mean loss: Q in its upper triangle, P x P. `known`: nothing has changed since loss().
  double evaluate(const BatchSource<double>& source, const Poll& poll, bool known);
  double loss(const BatchSource<double>& source, const Poll& poll);                   // alone
  bool holds(const BatchSource<double>& source) const { return source.n <= chunk_; }  // all of its rows at once

  const double* matrix() const { return matrix_.data(); }
  const double* gradient() const { return gradient_.data(); }

 private:
  void make_rows(const Part& part, std::int64_t n);
  void add_square(const Part& part);
  void keep_residuals(const Part& part);
  void add_gradient(const Part& part);

  Sweep<double>& sweep_;
  std::unique_ptr<KroneckerSquare> dense_;
  std::vector<DenseLayer> narrow_;  // of a net of dense layers with one output; else none
  bool short_ = false;              // the gradient comes from the rows of J, too
  Buffer<double> residuals_;  // by sample of a chunk: J^T times them is the gradient   // where all weights are of
                              // dense layers; else rows_
  std::int64_t size_, columns_ = 0, chunk_;  // columns of S, of all losses
  Buffer<double> matrix_, gradient_, rows_;
  std::vector<Buffer<double>> curvature_;  // by loss: of a chunk
  std::vector<Buffer<double>> scratch_;    // by thread
};

}  // namespace bp
