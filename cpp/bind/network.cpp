#include "bind/network.h"

#include <cmath>
#include <limits>

#include "bind/parts.h"
#include "bind/plain.h"
#include "bind/user_code.h"
#include "train/states.h"

namespace bp {
namespace {

Array array_of(const py::handle& value) {
  const auto array = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(value);
  if (!array) throw py::error_already_set();
  return {shape_of(array), std::vector<double>(array.data(), array.data() + array.size())};
}

// By its type in Python: bool and int, float, str, a sequence of ints, an array; anything else is a layer in Python.
template <class T> Attribute<T> parse_attribute(const py::handle& value, const std::string& node) {
  if (py::isinstance<py::int_>(value) || py::isinstance<py::bool_>(value)) {
    const py::int_ whole = py::cast<py::int_>(value);
    const bool large = whole > py::int_(std::numeric_limits<std::int64_t>::max());  // a seed has 64 bits and no sign
    return large ? static_cast<std::int64_t>(whole.cast<std::uint64_t>()) : whole.cast<std::int64_t>();
  }
  if (py::isinstance<py::float_>(value)) return value.cast<double>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::tuple>(value) || py::isinstance<py::list>(value)) return value.cast<Shape>();
  if (py::isinstance<py::array>(value)) return array_of(value);
  return std::shared_ptr<UserLayer<T>>(std::make_shared<PythonLayer<T>>(value, node));
}

template <class T> NodeSpec<T> parse_node(const py::tuple& tuple, Compute compute) {
  if (tuple.size() != 5) throw py::value_error("a node is (op, inputs, params, attrs, name)");
  NodeSpec<T> spec;
  spec.compute = compute;
  spec.op = tuple[0].cast<std::string>();
  spec.inputs = tuple[1].cast<std::vector<int>>();
  spec.params = tuple[2].cast<std::vector<int>>();
  spec.name = tuple[4].cast<std::string>();
  for (const std::pair<py::handle, py::handle>& item : py::dict(tuple[3])) {
    spec.attributes.emplace(item.first.cast<std::string>(), parse_attribute<T>(item.second, spec.name));
  }
  return spec;
}

}  // namespace

template <class T>
Network<T>::Network(const py::list& nodes, const std::vector<int>& outputs, const std::vector<py::array>& params,
                    const std::vector<std::string>& names, const std::vector<bool>& trainable,
                    const std::string& compute, const std::vector<std::tuple<int, int, int, py::array>>& shifts,
                    const std::vector<std::shared_ptr<Counter>>& changes, const std::vector<int>& backs)
    : keep_(params) {
  const Compute operands = parse_compute<T>(compute);
  check(params.size() == names.size() && params.size() == trainable.size() &&
            (changes.empty() || changes.size() == params.size()) && (backs.empty() || backs.size() == params.size()),
        "params, names, trainable, changes and backs differ in length");
  std::vector<ParameterView<T>> views;
  for (std::size_t i = 0; i < params.size(); ++i) {
    views.push_back({writable_data<T>(params[i], names[i]), shape_of(params[i]), names[i], trainable[i],
                     changes.empty() ? nullptr : changes[i], backs.empty() ? -1 : backs[i]});
  }
  std::vector<NodeSpec<T>> specs;
  for (py::handle node : nodes) specs.push_back(parse_node<T>(py::reinterpret_borrow<py::tuple>(node), operands));
  graph_ = std::make_shared<const Graph<T>>(std::move(specs), outputs, std::move(views));
  inference_ = std::make_unique<Inference<T>>(graph_);
  shifts_.resize(graph_->inputs.size());
  for (const auto& [input, mean, variance, exact] : shifts) {
    const auto is_param = [&](int p) { return p >= 0 && static_cast<std::size_t>(p) < graph_->params.size(); };
    check(input >= 0 && static_cast<std::size_t>(input) < shifts_.size() && is_param(mean) && is_param(variance),
          "a shift names no input or no parameter");
    const ParameterView<T>& view = graph_->params[static_cast<std::size_t>(mean)];
    check(shape_of(exact) == view.shape && graph_->params[static_cast<std::size_t>(variance)].shape == view.shape,
          view.name + ": a shift of another shape");
    shifts_[static_cast<std::size_t>(input)] = {mean, variance, writable_data<double>(exact, view.name + ": shift")};
    keep_.push_back(exact);
  }
  simple_ = graph_->inputs.size() == 1 && graph_->outputs.size() == 1 && !inference_->plan().whole_batch();
}

template <class T> std::map<std::string, std::string> Network<T>::rounded() const {
  std::map<std::string, std::string> found;
  for (std::size_t i = 0; i < graph_->nodes.size(); ++i) {
    const Compute compute = graph_->facts[i].compute;
    if (compute != Compute::kFull) found[graph_->nodes[i].name] = compute_name(compute);
  }
  return found;
}

template <class T> int Network<T>::node(int users) const {
  check(users >= 0 && static_cast<std::size_t>(users) < graph_->node_of.size(), "no such node");
  return graph_->node_of[static_cast<std::size_t>(users)];
}

template <class T> RowReader<T> Network<T>::reader(const py::array& x, std::size_t k, std::int64_t n) const {
  RowReader<T> reader(view_of(x, "an input"));
  const std::int64_t size = graph_->size(graph_->inputs[k]);
  if (x.ndim() < 1 || reader.rows() != n || reader.row_size() != size) {
    throw BadInput("input " + std::to_string(k) + ": got shape " + to_string(shape_of(x)) + ", expected " +
                   std::to_string(n) + " rows of " + std::to_string(size));
  }
  if (shifts_[k].mean >= 0) reader.subtract(offset(k));
  if (graph_->facts[static_cast<std::size_t>(graph_->inputs[k])].ids) reader.read_as_ids();
  return reader;
}

template <class T> py::dict Network<T>::carried() const {
  py::dict found;
  StateKeys keys;
  for (std::size_t i = 0; i < graph_->nodes.size(); ++i) {
    const OpPtr<T> op = graph_->make(static_cast<int>(i));
    if (op->sizes().carried == 0) continue;
    found[py::str(keys.next(graph_->nodes[i].name))] = py::make_tuple(op->sizes().carried, op->facts().stateful);
  }
  return found;
}

template <class T> std::vector<Offset> Network<T>::offset(std::size_t k) const {
  constexpr double kLarge = 64;  // of deviations: the mean's rounding to T is then 2^-18 of one, and grows with it
  const Shift& shift = shifts_[k];
  std::vector<Offset> result;
  if (shift.mean < 0) return result;
  const ParameterView<T>& mean = graph_->params[static_cast<std::size_t>(shift.mean)];
  const T* variance = graph_->params[static_cast<std::size_t>(shift.variance)].value;
  for (std::int64_t i = 0; i < size_of(mean.shape); ++i) {
    const double rounded = static_cast<double>(mean.value[i]);
    const bool wide = std::abs(rounded) > kLarge * std::sqrt(static_cast<double>(variance[i]));
    const bool has_digits = wide && static_cast<T>(shift.exact[i]) == mean.value[i];  // else it was assigned since
    result.push_back({has_digits ? shift.exact[i] : rounded, wide});
  }
  return result;
}

template <class T> std::vector<double> Network<T>::largest(std::vector<double> most) const {
  check(most.empty() || most.size() == graph_->inputs.size(), "largest: expected one number per input");
  for (std::size_t k = 0; k < most.size(); ++k) {
    double shift = 0;
    for (const Offset& offset : this->offset(k)) shift = std::max(shift, std::abs(offset.value));
    most[k] += shift;
  }
  return most;
}

template <class T>
std::vector<RowReader<T>> Network<T>::readers(const std::vector<py::array>& xs, std::int64_t* n) const {
  if (xs.size() != graph_->inputs.size()) {
    throw BadInput("got " + std::to_string(xs.size()) + " input arrays, the network has " +
                   std::to_string(graph_->inputs.size()));
  }
  check(xs.empty() || xs[0].ndim() >= 1, "an input needs an axis of samples");
  *n = xs.empty() ? 0 : xs[0].shape(0);
  std::vector<RowReader<T>> all;
  for (std::size_t k = 0; k < xs.size(); ++k) all.push_back(reader(xs[k], k, *n));
  return all;
}

template <class T>
py::list Network<T>::forward(const std::vector<py::array>& xs, bool training, const py::object& outs,
                             std::uint64_t draw, bool commit) {
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
    std::vector<py::weakref> held;
    for (const py::array& x : xs) held.push_back(holding(x));
    for (py::handle y : results) held.push_back(holding(py::reinterpret_borrow<py::array>(y)));
    GilRelease release;
    inference_->run(all, n, ys, training, draw, commit);
  }
  return results;
}

template <class T> bool Network<T>::free_of_weights(const T* y, std::int64_t size) const {
  for (const ParameterView<T>& param : graph_->params) {
    if (y < param.value + size_of(param.shape) && param.value < y + size) return false;
  }
  return true;
}

namespace {

// A plain array of T, of rows of shape `sample`.
template <class T> bool plain_rows(PyObject* object, const Shape& sample, py::array* array) {
  if (!is_plain(object) || !has_type<T>(object)) return false;
  *array = py::reinterpret_borrow<py::array>(object);
  return has_rows(*array, -1, sample);
}

}  // namespace

template <class T> PyObject* Network<T>::call(PyObject* x, PyObject* out, bool check_finite) {
  py::array input, output;
  const int in = graph_->inputs[0], result = graph_->outputs[0];
  const Shape& shape = graph_->shapes[static_cast<std::size_t>(result)];
  if (!simple_ || !plain_rows<T>(x, graph_->shapes[static_cast<std::size_t>(in)], &input)) return nullptr;
  const std::int64_t n = input.shape(0), size = n * graph_->size(result);
  constexpr std::int64_t kMostRows = 1024, kMostValues = 1 << 16;  // to be looked at while others wait for the GIL
  if (n == 0 || n > kMostRows || input.size() > kMostValues) return nullptr;
  const T* from = static_cast<const T*>(input.data());
  if (check_finite && !kernels<T>().all_finite(from, input.size())) return nullptr;
  if (out == Py_None) {
    output = new_rows<T>(n, shape);
  } else {
    if (!plain_rows<T>(out, shape, &output) || output.shape(0) != n || !output.writeable()) return nullptr;
    const T* y = static_cast<const T*>(output.data());
    if ((y < from + input.size() && from < y + size) || !free_of_weights(y, size)) return nullptr;
  }
  T* y = static_cast<T*>(const_cast<void*>(output.data()));
  const bool ids = graph_->facts[static_cast<std::size_t>(in)].ids;
  if (n > kRowBlock || flops() * n > kFlopsPerThread) {
    const py::weakref held[] = {holding(input), holding(output)};
    const std::vector<RowReader<T>> xs{reader(input, 0, n)};
    GilRelease release;
    inference_->run(xs, n, {y}, false, 0);
  } else if (shifts_[0].mean < 0 && !ids) {
    inference_->run_direct(from, n, y);  // microseconds: not worth giving the GIL away
  } else {
    inference_->run_few(reader(input, 0, n), n, y);
  }
  return output.release().ptr();
}

namespace {

// A plain C function: pybind11's dispatch would take as long as a small network.
template <class T> PyObject* call_function(PyObject* capsule, PyObject* const* args, Py_ssize_t n) {
  if (n != 3) {
    PyErr_SetString(PyExc_TypeError, "expected (x, out, check_finite)");
    return nullptr;
  }
  try {
    auto* net = static_cast<Network<T>*>(PyCapsule_GetPointer(capsule, nullptr));
    PyObject* y = net->call(args[0], args[1], args[2] == Py_True);
    if (y == nullptr) Py_RETURN_NONE;
    return y;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc& error) {
    set_memory_error(error);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

template <class T> py::object make_call(const std::shared_ptr<Network<T>>& net) {
  static PyMethodDef method{"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_function<T>)),
                            METH_FASTCALL, "call(x, out, check_finite): y, or None where the long way has to be taken"};
  // The capsule owns a share of the network and points to it.
  auto* share = new std::shared_ptr<Network<T>>(net);
  const auto capsule = py::reinterpret_steal<py::object>(PyCapsule_New(net.get(), nullptr, [](PyObject* self) {
    delete static_cast<std::shared_ptr<Network<T>>*>(PyCapsule_GetContext(self));
  }));
  PyCapsule_SetContext(capsule.ptr(), share);
  return py::reinterpret_steal<py::object>(PyCFunction_New(&method, capsule.ptr()));
}

template <class T> void bind(py::module_& m, const char* name) {
  using Net = Network<T>;
  py::class_<Net, std::shared_ptr<Net>>(m, name)
      .def("forward", &Net::forward, py::arg("xs"), py::arg("training") = false, py::arg("outs") = py::none(),
           py::arg("draw") = 0, py::arg("commit") = true)
      .def_property_readonly("call", make_call<T>)
      .def(
          "shape", [](const Net& net, int i) { return py::tuple(py::cast(net.shape(i))); }, py::arg("node"))
      .def("describe", &Net::describe)
      .def("carried", &Net::carried)
      .def_property_readonly("rounded", &Net::rounded)
      .def_property_readonly("flops_per_sample", &Net::flops)
      .def_property_readonly("dtype", [](const Net&) { return sizeof(T) == 4 ? "float32" : "float64"; });
}

}  // namespace

void bind_network(py::module_& m) {
  bind<float>(m, "NetworkFloat32");
  bind<double>(m, "NetworkFloat64");
  m.def(
      "Network",
      [](const std::string& dtype, const py::list& nodes, const std::vector<int>& outputs,
         const std::vector<py::array>& params, const std::vector<std::string>& names,
         const std::vector<bool>& trainable, const std::string& compute,
         const std::vector<std::tuple<int, int, int, py::array>>& shifts,
         const std::vector<std::shared_ptr<Counter>>& changes, const std::vector<int>& backs) -> py::object {
        const auto make = [&]<class T>(T) {
          return py::cast(
              std::make_shared<Network<T>>(nodes, outputs, params, names, trainable, compute, shifts, changes, backs));
        };
        if (dtype == "float32") return make(0.0f);
        if (dtype == "float64") return make(0.0);
        throw py::value_error("dtype must be 'float32' or 'float64', got '" + dtype + "'");
      },
      py::arg("dtype"), py::arg("nodes"), py::arg("outputs"), py::arg("params"), py::arg("param_names"),
      py::arg("trainable"), py::arg("compute") = "",
      py::arg("shifts") = std::vector<std::tuple<int, int, int, py::array>>{},
      py::arg("changes") = std::vector<std::shared_ptr<Counter>>{}, py::arg("backs") = std::vector<int>{});
}

template class Network<float>;
template class Network<double>;

}  // namespace bp
