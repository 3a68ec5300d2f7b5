#include "bind/network.h"

#include "bind/callbacks.h"

namespace bp {
namespace {

Activation activation_from_name(const std::string& name) {
  for (int i = 0; i < static_cast<int>(Activation::kCount); ++i) {
    if (name == activation_name(static_cast<Activation>(i))) return static_cast<Activation>(i);
  }
  throw BadInput("unknown activation '" + name + "'");
}

template <class T> NodeSpec<T> parse_node(const py::tuple& tuple) {
  if (tuple.size() != 5) throw py::value_error("a node is (op, inputs, params, attrs, name)");
  NodeSpec<T> spec;
  spec.op = tuple[0].cast<std::string>();
  spec.inputs = tuple[1].cast<std::vector<int>>();
  spec.params = tuple[2].cast<std::vector<int>>();
  const py::dict attrs(tuple[3]);
  spec.name = tuple[4].cast<std::string>();
  if (attrs.contains("shape")) spec.shape = attrs["shape"].cast<Shape>();
  spec.axis = get_or(attrs, "axis", 0);
  spec.alpha = get_or(attrs, "alpha", 0.0);
  spec.mode = get_or(attrs, "mode", std::string());
  spec.seed = get_or(attrs, "seed", std::uint64_t{0});
  if (attrs.contains("numbers")) spec.numbers = attrs["numbers"].cast<std::map<std::string, double>>();
  if (attrs.contains("function")) spec.function = activation_from_name(attrs["function"].cast<std::string>());
  if (attrs.contains("value")) {
    const auto value = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(attrs["value"]);
    spec.shape = shape_of(value);
    for (py::ssize_t i = 0; i < value.size(); ++i) spec.constant.push_back(static_cast<T>(value.data()[i]));
  }
  if (spec.op == "python") spec.callback = std::make_shared<PythonLayer<T>>(attrs, spec.name);
  return spec;
}

}  // namespace

template <class T>
Network<T>::Network(const py::list& nodes, const std::vector<int>& outputs, const std::vector<py::array>& params,
                    const std::vector<std::string>& names, const std::vector<bool>& trainable)
    : keep_(params) {
  check(params.size() == names.size() && params.size() == trainable.size(), "params, names and trainable differ in length");
  std::vector<ParameterView<T>> views;
  for (std::size_t i = 0; i < params.size(); ++i) {
    views.push_back({writable_data<T>(params[i], names[i]), shape_of(params[i]), names[i], trainable[i]});
  }
  std::vector<NodeSpec<T>> specs;
  for (py::handle node : nodes) specs.push_back(parse_node<T>(py::reinterpret_borrow<py::tuple>(node)));
  graph_ = std::make_shared<const Graph<T>>(std::move(specs), outputs, std::move(views));
  inference_ = std::make_unique<Inference<T>>(graph_);
}

template <class T> int Network<T>::node(int users) const {
  check(users >= 0 && static_cast<std::size_t>(users) < graph_->node_of.size(), "no such node");
  return graph_->node_of[static_cast<std::size_t>(users)];
}

template <class T> RowReader<T> Network<T>::reader(const py::array& x, std::size_t k, std::int64_t n) const {
  const std::string what = "input " + std::to_string(k);
  RowReader<T> reader(view_of(x, what));
  const std::int64_t size = graph_->size(graph_->inputs[k]);
  check(x.ndim() >= 1 && reader.rows() == n && reader.row_size() == size,
        what + ": got shape " + to_string(shape_of(x)) + ", expected " + std::to_string(n) + " rows of " + std::to_string(size));
  return reader;
}

template <class T>
std::vector<RowReader<T>> Network<T>::readers(const std::vector<py::array>& xs, std::int64_t* n) const {
  check(xs.size() == graph_->inputs.size(), "got " + std::to_string(xs.size()) + " input arrays, the network has " +
                                                std::to_string(graph_->inputs.size()));
  check(xs.empty() || xs[0].ndim() >= 1, "an input needs an axis of samples");
  *n = xs.empty() ? 0 : xs[0].shape(0);
  std::vector<RowReader<T>> all;
  for (std::size_t k = 0; k < xs.size(); ++k) all.push_back(reader(xs[k], k, *n));
  return all;
}

template <class T>
py::list Network<T>::forward(const std::vector<py::array>& xs, bool training, const py::object& outs, std::uint64_t draw) {
  std::int64_t n = 0;
  const auto all = readers(xs, &n);
  py::list results;
  std::vector<T*> ys;
  for (std::size_t k = 0; k < graph_->outputs.size(); ++k) {
    const Shape shape = with_rows(n, graph_->shapes[static_cast<std::size_t>(graph_->outputs[k])]);
    py::array y;
    if (outs.is_none()) {
      y = py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()));
    } else {
      y = py::list(outs)[k].template cast<py::array>();
      check(shape_of(y) == shape, "out: got shape " + to_string(shape_of(y)) + ", expected " + to_string(shape));
    }
    ys.push_back(writable_data<T>(y, "out"));
    results.append(y);
  }
  {
    py::gil_scoped_release release;
    inference_->run(all, n, ys, training, draw);
  }
  return results;
}

template <class T> py::object Network<T>::call(const py::handle& x) {
  check(graph_->inputs.size() == 1 && graph_->outputs.size() == 1, "call takes a network of one input and one output");
  const auto array = py::reinterpret_borrow<py::array>(x);
  const std::int64_t n = array.ndim() > 0 ? array.shape(0) : 0;
  const RowReader<T> rows = reader(array, 0, n);
  const T* direct = rows.direct();
  const bool small = n <= kRowBlock && threads_for(flops() * n) == 1 && !inference_->plan().whole_batch();
  if (direct == nullptr || !small) return forward({array}, false, py::none(), 0)[0];
  const Shape shape = with_rows(n, graph_->shapes[static_cast<std::size_t>(graph_->outputs[0])]);
  py::array_t<T> y(std::vector<py::ssize_t>(shape.begin(), shape.end()));
  T* data = y.mutable_data();
  {
    py::gil_scoped_release release;
    inference_->run_direct(direct, n, data);
  }
  return y;
}

namespace {

template <class T> void bind(py::module_& m, const char* name) {
  using Net = Network<T>;
  py::class_<Net, std::shared_ptr<Net>>(m, name)
      .def("forward", &Net::forward, py::arg("xs"), py::arg("training") = false, py::arg("outs") = py::none(),
           py::arg("draw") = 0)
      .def("call", &Net::call, py::arg("x"))
      .def("shape", [](const Net& net, int i) { return py::tuple(py::cast(net.shape(i))); }, py::arg("node"))
      .def("describe", &Net::describe)
      .def_property_readonly("flops_per_sample", &Net::flops)
      .def_property_readonly("dtype", [](const Net&) { return sizeof(T) == 4 ? "float32" : "float64"; });
}

}  // namespace

void bind_network(py::module_& m) {
  bind<float>(m, "NetworkFloat32");
  bind<double>(m, "NetworkFloat64");
  m.def(
      "Network",
      [](const std::string& dtype, const py::list& nodes, const std::vector<int>& outputs, const std::vector<py::array>& params,
         const std::vector<std::string>& names, const std::vector<bool>& trainable) -> py::object {
        if (dtype == "float32") return py::cast(std::make_shared<Network<float>>(nodes, outputs, params, names, trainable));
        if (dtype == "float64") return py::cast(std::make_shared<Network<double>>(nodes, outputs, params, names, trainable));
        throw py::value_error("dtype must be 'float32' or 'float64', got '" + dtype + "'");
      },
      py::arg("dtype"), py::arg("nodes"), py::arg("outputs"), py::arg("params"), py::arg("param_names"), py::arg("trainable"));
}

template class Network<float>;
template class Network<double>;

}  // namespace bp
