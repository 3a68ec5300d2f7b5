// Jacobians, gradients of samples and products with curvature matrices, as functions of a network or of a trainer's
// data.
#include "solve/derivatives.h"

#include "bind/network.h"
#include "bind/parts.h"
#include "bind/poll.h"
#include "bind/trainer.h"

namespace bp {
namespace {

template <class T> py::array_t<T> new_array(const Shape& shape) {
  return py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()));
}

std::int64_t size_of_vector(const Offsets& offsets, const auto& params) {
  std::int64_t size = 0;
  for (std::size_t p = 0; p < offsets.size(); ++p) {
    if (offsets[p] >= 0) size = std::max(size, offsets[p] + size_of(params[p].shape));
  }
  return size;
}

template <class T>
py::list jacobian_of(const Network<T>& net, const std::vector<py::array>& xs, const Offsets& offsets) {
  const Graph<T>& graph = *net.graph();
  BatchSource<T> source;
  source.xs = net.readers(xs, &source.n);
  py::list arrays;
  std::vector<T*> to;
  for (int output : graph.outputs) {
    auto array = new_array<T>({source.n, graph.size(output), size_of_vector(offsets, graph.params)});
    to.push_back(array.mutable_data());
    arrays.append(array);
  }
  const GilRelease release;
  jacobian<T>(net.graph(), offsets, source, to, signal_poll());
  return arrays;
}

template <class T> py::list input_jacobian_of(const Network<T>& net, const std::vector<py::array>& xs) {
  const Graph<T>& graph = *net.graph();
  BatchSource<T> source;
  source.xs = net.readers(xs, &source.n);
  py::list outputs;
  std::vector<std::vector<T*>> to;
  for (int output : graph.outputs) {
    py::list inputs;
    to.emplace_back();
    for (int input : graph.inputs) {
      auto array = new_array<T>({source.n, graph.size(output), graph.size(input)});
      to.back().push_back(array.mutable_data());
      inputs.append(array);
    }
    outputs.append(inputs);
  }
  const GilRelease release;
  input_jacobian<T>(net.graph(), source, to, signal_poll());
  return outputs;
}

// body(trainer) with its gate held and without the GIL; an array of this shape of a sample, or of none.
template <class T, class Body>
py::array over_data(TrainerHandle<T>& handle, const Offsets& offsets, bool by_sample, Body body) {
  Trainer<T>& trainer = handle.core();
  const std::int64_t size = size_of_vector(offsets, trainer.graph()->params);
  auto array = by_sample ? new_array<T>({trainer.source().n, size}) : new_array<T>({size});
  T* const to = array.mutable_data();
  const Entry entry(handle.gate());
  check(entry.inside(), "two threads are in one trainer");
  const GilRelease release;
  if (!by_sample) std::fill_n(to, size, T(0));
  body(trainer, to);
  return array;
}

template <class T> const T* vector_of(const py::array& v, const Offsets& offsets, const Graph<T>& graph) {
  check(v.size() == size_of_vector(offsets, graph.params) && v.dtype().equal(py::dtype::of<T>()) &&
            (v.flags() & py::array::c_style) != 0,
        "v: expected a contiguous vector of all trained numbers");
  return static_cast<const T*>(v.data());
}

template <class T> void bind(py::module_& m) {
  m.def("jacobian", &jacobian_of<T>, py::arg("net"), py::arg("xs"), py::arg("offsets"));
  m.def("input_jacobian", &input_jacobian_of<T>, py::arg("net"), py::arg("xs"));
  m.def(
      "sample_gradients",
      [](TrainerHandle<T>& trainer, const Offsets& offsets) {
        return over_data<T>(trainer, offsets, true, [&](Trainer<T>& t, T* to) {
          sample_gradients<T>(t.graph(), t.config(), offsets, t.source(), to, signal_poll());
        });
      },
      py::arg("trainer"), py::arg("offsets"));
  m.def(
      "gauss_newton_vector",
      [](TrainerHandle<T>& trainer, const Offsets& offsets, const py::array& v, bool expected) {
        const T* direction = vector_of<T>(v, offsets, *trainer.core().graph());
        return over_data<T>(trainer, offsets, false, [&](Trainer<T>& t, T* to) {
          gauss_newton_vector<T>(t.graph(), t.config(), offsets, t.source(), expected, direction, to, signal_poll());
        });
      },
      py::arg("trainer"), py::arg("offsets"), py::arg("v"), py::arg("expected"));
  m.def(
      "hessian_vector",
      [](TrainerHandle<T>& trainer, const Offsets& offsets, const py::array& v) {
        const T* direction = vector_of<T>(v, offsets, *trainer.core().graph());
        return over_data<T>(trainer, offsets, false, [&](Trainer<T>& t, T* to) {
          hessian_vector<T>(t.graph(), t.config(), offsets, t.source(), direction, to, signal_poll());
        });
      },
      py::arg("trainer"), py::arg("offsets"), py::arg("v"));
}

}  // namespace

void bind_derivatives(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace bp
