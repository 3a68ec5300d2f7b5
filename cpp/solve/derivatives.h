// Derivatives of a network over a data set beyond the gradient: Jacobians, gradients of samples, products of the
// Gauss-Newton, Fisher and Hessian matrices with a vector. Vectors are of all trained parameters (Sweep); samples in
// order.
#pragma once

#include "solve/sweep.h"

namespace bp {

template <class T> using GraphPtr = std::shared_ptr<const Graph<T>>;
template <class T> using ConfigPtr = std::shared_ptr<const StepConfig<T>>;
using Offsets = std::vector<std::int64_t>;

// to[k] (N, O_k, P): of output k, after its activation, with respect to the weights.
template <class T>
void jacobian(const GraphPtr<T>& graph, const Offsets& offsets, const BatchSource<T>& source, const std::vector<T*>& to,
              const Poll& poll);
// to[k][i] (N, O_k, I_i): with respect to input i.
template <class T>
void input_jacobian(const GraphPtr<T>& graph, const BatchSource<T>& source, const std::vector<std::vector<T*>>& to,
                    const Poll& poll);
// to (N, P): of each sample's own loss, of all outputs, without penalties.
template <class T>
void sample_gradients(const GraphPtr<T>& graph, const ConfigPtr<T>& config, const Offsets& offsets,
                      const BatchSource<T>& source, T* to, const Poll& poll);
// to (P) = mean over the samples of J^T H J v; H the losses' curvature in the predictions, expected: its mean over
// targets of the model's own distribution (the Fisher matrix), which reads no targets.
template <class T>
void gauss_newton_vector(const GraphPtr<T>& graph, const ConfigPtr<T>& config, const Offsets& offsets,
                         const BatchSource<T>& source, bool expected, const T* v, T* to, const Poll& poll);
// to (P) = the Hessian of the mean loss with penalties times v, exactly. BadInput where an op, loss or penalty has no
// second derivative.
template <class T>
void hessian_vector(const GraphPtr<T>& graph, const ConfigPtr<T>& config, const Offsets& offsets,
                    const BatchSource<T>& source, const T* v, T* to, const Poll& poll);

}  // namespace bp
