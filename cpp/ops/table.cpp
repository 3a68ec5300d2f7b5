// The operations: a row for each, with its name in a graph and the function in its file that makes it.
#include "ops/op.h"

// clang-format off
#define BP_OPS(row)                                   \
  row("input", make_input)                            \
  row("target", make_target)                          \
  row("constant", make_constant)                      \
  row("reshape", make_reshape)                        \
  row("python", make_user_layer)                      \
  row("dense", make_dense)                            \
  row("masked_dense", make_masked_dense)              \
  row("activation", make_activation)                  \
  row("function", make_function)                      \
  row("sum", make_sum)                                \
  row("slice", make_slice)                            \
  row("stop", make_stop)                              \
  row("feedback", make_feedback)                      \
  row("synthetic", make_synthetic)                    \
  row("difference", make_difference)                  \
  row("softmax", make_softmax)                        \
  row("log_softmax", make_softmax)                    \
  row("add", make_merge)                              \
  row("subtract", make_merge)                         \
  row("multiply", make_merge)                         \
  row("divide", make_merge)                           \
  row("maximum", make_merge)                          \
  row("minimum", make_merge)                          \
  row("concatenate", make_concatenate)                \
  row("dot", make_dot)                                \
  row("scale", make_scale)                            \
  row("noise", make_noise)                            \
  row("batch_normalization", make_batch_normalization) \
  row("normalization", make_normalization)             \
  row("simple_rnn", make_recurrent)                    \
  row("lstm", make_recurrent)                          \
  row("gru", make_recurrent)                           \
  row("reverse", make_reverse)                         \
  row("history", make_history)                         \
  row("rows", make_rows)                               \
  row("embedding", make_embedding)                     \
  row("repeat", make_repeat)                           \
  row("masking", make_masking)                         \
  row("pool_steps", make_pool_steps)                   \
  row("convolution", make_convolution)                 \
  row("exchange", make_exchange)                       \
  row("pooling", make_pooling)                         \
  row("place", make_place)                              \
  row("hsic", make_hsic)                                \
  row("derivative", make_derivative)                    \
  row("descend", make_descend)
// clang-format on

namespace bp {

#define BP_DECLARE(name, make) template <class T> OpPtr<T> make(const Node<T>& node);
BP_OPS(BP_DECLARE)

namespace {

template <class T> struct Row {
  const char* name;
  OpPtr<T> (*make)(const Node<T>& node);
};

#define BP_ROW(name, make) {name, make<T>},
template <class T> constexpr Row<T> kTable[] = {BP_OPS(BP_ROW)};

}  // namespace

template <class T> OpPtr<T> make_op(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws) {
  for (const Row<T>& row : kTable<T>) {
    if (spec.op != row.name) continue;
    const Node<T> node(spec, xs, ws);
    OpPtr<T> op = row.make(node);
    node.refuse_unread();
    return op;
  }
  throw BadInput("unknown operation '" + spec.op + "' in node '" + spec.name + "'");
}

template OpPtr<float> make_op(const NodeSpec<float>&, const Shapes&, const Shapes&);
template OpPtr<double> make_op(const NodeSpec<double>&, const Shapes&, const Shapes&);

}  // namespace bp
