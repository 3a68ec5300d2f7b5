// One row per operation.
#include "ops/makers.h"

namespace bp {
namespace {

template <class T> struct Row {
  const char* name;
  std::unique_ptr<Op<T>> (*make)(const NodeSpec<T>&, const std::vector<Shape>&, const std::vector<Shape>&);
};

template <class T> constexpr Row<T> kTable[] = {
    {"input", make_input<T>},
    {"constant", make_constant<T>},
    {"dense", make_dense<T>},
    {"activation", make_activation<T>},
    {"softmax", make_softmax<T>},
    {"log_softmax", make_log_softmax<T>},
    {"add", make_add<T>},
    {"subtract", make_subtract<T>},
    {"multiply", make_multiply<T>},
    {"divide", make_divide<T>},
    {"maximum", make_maximum<T>},
    {"concatenate", make_concatenate<T>},
    {"reshape", make_reshape<T>},
    {"scale", make_scale<T>},
    {"noise", make_noise<T>},
    {"batch_normalization", make_batch_normalization<T>},
    {"normalization", make_normalization<T>},
    {"python", make_callback<T>},
};

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

template <class T>
std::unique_ptr<Op<T>> make_op(const NodeSpec<T>& spec, const std::vector<Shape>& xs, const std::vector<Shape>& ws) {
  for (const Row<T>& row : kTable<T>) {
    if (spec.op == row.name) return row.make(spec, xs, ws);
  }
  throw BadInput("unknown operation '" + spec.op + "' in node '" + spec.name + "'");
}

template std::unique_ptr<Op<float>> make_op(const NodeSpec<float>&, const std::vector<Shape>&, const std::vector<Shape>&);
template std::unique_ptr<Op<double>> make_op(const NodeSpec<double>&, const std::vector<Shape>&, const std::vector<Shape>&);

}  // namespace bp
