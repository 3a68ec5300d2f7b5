// Weights that take other values: all of them or none, as the caller's own loops want it.
#include "base/counter.h"
#include "base/threads.h"
#include "bind/parts.h"
#include "bind/plain.h"
#include "kernels/table.h"

namespace bp {
namespace {

// Whether `source` is an array of what the target takes without a conversion.
bool fits(const py::array& target, py::handle source) {
  if (!is_plain(source.ptr()) || !is_plain(target.ptr())) return false;
  const bool alike = has_type<float>(target.ptr()) ? has_type<float>(source.ptr()) : has_type<double>(source.ptr());
  const auto array = py::reinterpret_borrow<py::array>(source);
  return alike && array.ndim() == target.ndim() &&
         std::equal(array.shape(), array.shape() + array.ndim(), target.shape());
}

bool all_finite(const py::array& array) {
  return has_type<float>(array.ptr())
             ? kernels<float>().all_finite(static_cast<const float*>(array.data()), array.size())
             : kernels<double>().all_finite(static_cast<const double*>(array.data()), array.size());
}

// A model's weights as its parameters hold them (Parameter.held): (array, the view that users see, count of changes).
struct Held {
  explicit Held(const py::list& parts) {
    for (py::handle part : parts) {
      PyObject* const tuple = part.ptr();
      arrays.push_back(py::reinterpret_borrow<py::array>(PyTuple_GET_ITEM(tuple, 0)));
      writable = writable && py::reinterpret_borrow<py::array>(PyTuple_GET_ITEM(tuple, 1)).writeable();
      changes.push_back(py::handle(PyTuple_GET_ITEM(tuple, 2)).cast<Counter*>());
    }
  }
  void note_change() const {
    for (Counter* count : changes) count->add(1);
  }
  void* data(std::size_t i) const { return const_cast<void*>(arrays[i].data()); }

  std::vector<py::array> arrays;
  std::vector<Counter*> changes;
  bool writable = true;
};

// Copies the sources in, if all of them fit as they are, are finite and no weights themselves; else nothing, false.
bool assign_all(const py::list& held, const py::sequence& sources) {
  const Held to(held);
  const py::object list = py::reinterpret_steal<py::object>(PySequence_Fast(sources.ptr(), "a sequence"));
  if (!to.writable || static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list.ptr())) != to.arrays.size()) return false;
  PyObject** const from = PySequence_Fast_ITEMS(list.ptr());
  for (std::size_t i = 0; i < to.arrays.size(); ++i) {
    if (!fits(to.arrays[i], from[i])) return false;
    const auto source = py::reinterpret_borrow<py::array>(from[i]);
    const auto meets = [&](const py::array& weight) { return meet(source, weight); };
    if (std::any_of(to.arrays.begin(), to.arrays.end(), meets) || !all_finite(source)) return false;
  }
  to.note_change();
  for (std::size_t i = 0; i < to.arrays.size(); ++i) {
    const auto source = py::reinterpret_borrow<py::array>(from[i]);
    std::memcpy(to.data(i), source.data(), static_cast<std::size_t>(source.nbytes()));
  }
  return true;
}

// Copies the sources into arrays that nobody else knows of, such as gradients, or fills them with 0 (None); all of
// them, or none, false.
bool fill_all(const py::list& targets, const py::object& sources) {
  const bool zeros = sources.is_none();
  const py::list from = zeros ? py::list() : py::reinterpret_borrow<py::list>(sources);
  check(zeros || from.size() == targets.size(), "fill_all: a source for each target");
  const auto target = [&](std::size_t i) { return py::reinterpret_borrow<py::array>(targets[i]); };
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto to = target(i);
    if (!is_plain(to.ptr()) || !to.writeable() || (!zeros && !fits(to, from[i]))) return false;
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto to = target(i);
    void* const data = const_cast<void*>(to.data());
    const auto bytes = static_cast<std::size_t>(to.nbytes());
    if (zeros) {
      std::memset(data, 0, bytes);
    } else {
      std::memcpy(data, py::reinterpret_borrow<py::array>(from[i]).data(), bytes);
    }
  }
  return true;
}

template <class T> void blend_pair(T* w, const T* from, std::int64_t size, double tau) {
  if (w == from) return;
  kernels<T>().scale(static_cast<T>(1 - tau), w, size);
  kernels<T>().axpy(static_cast<T>(tau), from, w, size);
}

// w <- (1 - tau) w + tau source for all weights of two models, of equal shapes and dtypes and writable; else nothing,
// false.
bool blend(const py::list& held, const py::list& sources, double tau) {
  const Held to(held), from(sources);
  if (!to.writable || to.arrays.size() != from.arrays.size()) return false;
  for (std::size_t i = 0; i < to.arrays.size(); ++i) {
    if (!fits(to.arrays[i], from.arrays[i])) return false;
  }
  const FloatEnvironment environment;
  to.note_change();
  for (std::size_t i = 0; i < to.arrays.size(); ++i) {
    const std::int64_t size = to.arrays[i].size();
    if (has_type<float>(to.arrays[i].ptr())) {
      blend_pair(static_cast<float*>(to.data(i)), static_cast<const float*>(from.data(i)), size, tau);
    } else {
      blend_pair(static_cast<double*>(to.data(i)), static_cast<const double*>(from.data(i)), size, tau);
    }
  }
  return true;
}

}  // namespace

void bind_weights(py::module_& m) {
  m.def("assign_all", &assign_all, py::arg("held"), py::arg("sources"));
  m.def("fill_all", &fill_all, py::arg("targets"), py::arg("sources"));
  m.def("blend", &blend, py::arg("held"), py::arg("sources"), py::arg("tau"));
}

}  // namespace bp
