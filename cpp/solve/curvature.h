// The curvature of a loss in its prediction: of each row of n values the Hessian H (n, n), times vectors, and as S S^T.
//
//   squares, huber, log_cosh, poisson, cross entropies of probabilities, binary cross entropy   H is diagonal
//   cross_entropy of logits   H = T (diag(p) - p p^T), p = softmax(z), T the sum of the target; S = sqrt(T) (I - p 1^T)
//   diag(sqrt p) gaussian_nll              2 x 2 for each mean m and log-variance s: (a, -r a; -r a, r^2 a / 2), a =
//   exp(-s), r = m - t
// each times the row's (or term's) weight and LossArgs::scale, as its deltas are. Expected: the mean over targets that
// the model's own distribution gives (the Fisher matrix of the prediction), for losses that are the logarithm of a
// likelihood.
#pragma once

#include "plan/random.h"
#include "train/loss.h"

namespace bp {

template <class T> bool is_sum_of_squares(const BoundLoss<T>& loss);
template <class T> bool has_factor(const BoundLoss<T>& loss);      // H is never negative
template <class T> bool has_likelihood(const BoundLoss<T>& loss);  // there is an expected H

// h, of curvature_size(), takes what the other two read. A loss in Python has none: BadInput.
constexpr std::int64_t curvature_size(std::int64_t predicted_values) { return 2 * predicted_values; }
template <class T> void measure_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, bool expected, T* h);
// out (rows, n) = H u
template <class T>
void times_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, const T* h, const T* u, T* out);
// out (rows, n) = column j of S
template <class T>
void factor_of_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, const T* h, std::int64_t j, T* out);
// out (rows, n) with E[out out^T] = H, for losses that have a factor: root weight times the delta of targets drawn from
// the distribution that the loss gives the model, a normal one, the classes' or a coin for each value. h is the
// expected one. Row r of `rows` has numbers of row first + r, whoever asks.
template <class T>
void draw_of_curvature(const BoundLoss<T>& loss, const LossArgs<T>& rows, const T* h, const RandomStream& random,
                       std::int64_t first, T* out);

}  // namespace bp
