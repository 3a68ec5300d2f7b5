// The makers behind ops/table.cpp, one or a few per file of this folder.
#pragma once

#include "ops/op.h"

namespace bp {

template <class T> using OpPtr = std::unique_ptr<Op<T>>;
using Shapes = std::vector<Shape>;

template <class T> OpPtr<T> make_input(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_constant(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_dense(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_activation(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_softmax(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_log_softmax(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_add(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_subtract(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_multiply(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_divide(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_maximum(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_concatenate(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_reshape(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_scale(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_noise(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_batch_normalization(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_normalization(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);
template <class T> OpPtr<T> make_callback(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);

#define BP_INSTANTIATE_MAKER(make)                                                              \
  template OpPtr<float> make(const NodeSpec<float>& spec, const Shapes& xs, const Shapes& ws);   \
  template OpPtr<double> make(const NodeSpec<double>& spec, const Shapes& xs, const Shapes& ws);

}  // namespace bp
