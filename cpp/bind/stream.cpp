// Stream: a network that takes a step at a time, in Python's hands.
#include <optional>

#include "plan/stream.h"

#include "bind/network.h"
#include "bind/parts.h"
#include "bind/plain.h"

namespace bp {
namespace {

template <class T> class PyStream {
 public:
  PyStream(std::shared_ptr<Network<T>> net, std::int64_t rows) : net_(std::move(net)), stream_(net_->graph(), rows) {}

  std::int64_t rows() const { return stream_.rows(); }

  // Any array of the right shape, in time: the network's input has an axis of one step.
  py::array step(const py::array& x) {
    const RowReader<T> reader = net_->reader(x, 0, rows());
    py::array_t<T> y = result();
    stream_.step(reader, y.mutable_data());
    return y;
  }

  // The same for an array of T that lies as the core reads it; null for any other.
  PyObject* quick(PyObject* object) {
    if (!is_plain(object) || !has_type<T>(object)) return nullptr;
    const auto x = py::reinterpret_borrow<py::array>(object);
    const std::int64_t size = net_->graph()->size(net_->graph()->inputs[0]);
    const bool fits =
        x.size() == rows() * size && (x.ndim() == 2 ? x.shape(0) == rows() : x.ndim() == 1 && rows() == 1);
    if (!fits) return nullptr;
    const T* from = static_cast<const T*>(x.data());
    if (!kernels<T>().all_finite(from, x.size())) return nullptr;
    const std::int64_t width = net_->graph()->size(net_->graph()->outputs[0]);
    py::array_t<T> y(x.ndim() == 1 ? std::vector<py::ssize_t>{width} : std::vector<py::ssize_t>{rows(), width});
    stream_.step(from, y.mutable_data());
    return y.release().ptr();
  }

  void reset(const std::optional<std::int64_t>& row) {
    Frame<T>& frame = stream_.frame();
    if (!row) return frame.drop_carried();
    check(*row >= 0 && *row < rows(), "no such row");
    for (std::size_t i = 0; i < frame.carried_count(); ++i) {
      auto& of = frame.carried(i);
      std::fill_n(of.in.data() + *row * of.size, of.size, T(0));
    }
  }

  py::list states() {
    py::list all;
    for (std::size_t i = 0; i < stream_.frame().carried_count(); ++i) {
      const auto& of = stream_.frame().carried(i);
      all.append(py::array_t<T>({static_cast<py::ssize_t>(rows()), static_cast<py::ssize_t>(of.size)}, of.in.data()));
    }
    return all;
  }

  void set_states(const std::vector<py::array_t<T, py::array::c_style | py::array::forcecast>>& states) {
    Frame<T>& frame = stream_.frame();
    check(states.size() == frame.carried_count(), "states: got a wrong number of arrays");
    for (std::size_t i = 0; i < states.size(); ++i) {
      auto& of = frame.carried(i);
      check(states[i].size() == rows() * of.size, "states: an array has a wrong size");
      std::copy_n(states[i].data(), states[i].size(), of.in.data());
    }
  }

  std::vector<std::string> names() {
    std::vector<std::string> all;
    Frame<T>& frame = stream_.frame();
    for (std::size_t i = 0; i < frame.carried_count(); ++i)
      all.push_back(stream_.plan().steps()[frame.carried(i).step].name);
    return all;
  }

 private:
  py::array_t<T> result() const {
    const Shape shape = with_rows(rows(), net_->graph()->shapes[static_cast<std::size_t>(net_->graph()->outputs[0])]);
    return py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()));
  }

  std::shared_ptr<Network<T>> net_;
  Stream<T> stream_;
};

template <class T> PyObject* quick_function(PyObject* capsule, PyObject* x) {
  try {
    auto* stream = static_cast<PyStream<T>*>(PyCapsule_GetPointer(capsule, nullptr));
    PyObject* y = stream->quick(x);
    if (y == nullptr) Py_RETURN_NONE;
    return y;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// A plain C function: pybind11's dispatch would take as long as a small network.
template <class T> py::object make_quick(const std::shared_ptr<PyStream<T>>& stream) {
  static PyMethodDef method{"quick", quick_function<T>, METH_O,
                            "quick(x): y, or None where the long way has to be taken"};
  auto* share = new std::shared_ptr<PyStream<T>>(stream);
  const auto capsule = py::reinterpret_steal<py::object>(PyCapsule_New(stream.get(), nullptr, [](PyObject* self) {
    delete static_cast<std::shared_ptr<PyStream<T>>*>(PyCapsule_GetContext(self));
  }));
  PyCapsule_SetContext(capsule.ptr(), share);
  return py::reinterpret_steal<py::object>(PyCFunction_New(&method, capsule.ptr()));
}

template <class T> void bind(py::module_& m, const char* name) {
  using S = PyStream<T>;
  py::class_<S, std::shared_ptr<S>>(m, name)
      .def(py::init<std::shared_ptr<Network<T>>, std::int64_t>(), py::arg("net"), py::arg("rows"))
      .def("step", &S::step, py::arg("x"))
      .def_property_readonly("quick", make_quick<T>)
      .def("reset", &S::reset, py::arg("row") = py::none())
      .def("states", &S::states)
      .def("set_states", &S::set_states, py::arg("states"))
      .def("names", &S::names)
      .def_property_readonly("rows", &S::rows);
}

}  // namespace

void bind_stream(py::module_& m) {
  bind<float>(m, "StreamFloat32");
  bind<double>(m, "StreamFloat64");
}

}  // namespace bp
