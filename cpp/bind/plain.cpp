// Plain data: what most calls bring, recognised and checked in one look.
//
// The long way (data/signature.py) takes whatever a user has, and finds the words for what is wrong with it. Data are
// plain where it would give the very arrays that came, unchanged: ndarrays proper of floats, or labels, of the shapes
// that are wanted, in C order, apart from the weights, finite, and where the loss is defined. Everything else is left
// to it: None is no refusal.
#include <algorithm>

#include "bind/parts.h"
#include "bind/plain.h"
#include "plan/gather.h"

namespace bp {
namespace {

constexpr std::int64_t kMostValues = 1 << 16;  // to be looked at while others wait for the GIL

// What one array has to be: values from low to high, of this shape for each row; or class labels below `classes`.
struct Wanted {
  Shape shape;
  std::int64_t classes = 0;  // 0: values
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};

template <class T> bool all_between(const py::array& array, double low, double high) {
  const T* x = static_cast<const T*>(array.data());
  const T a = static_cast<T>(low), b = static_cast<T>(high);
  return std::all_of(x, x + array.size(), [&](T value) { return value >= a && value <= b; });
}

// As int32, if all of them are class numbers: the array itself, or else a copy.
template <class I> py::object labels_of(const py::array& array, std::int64_t classes) {
  const I* x = static_cast<const I*>(array.data());
  const auto size = static_cast<std::size_t>(array.size());
  if (!std::all_of(x, x + size, [&](I label) { return label >= 0 && label < classes; })) return py::none();
  if constexpr (sizeof(I) == sizeof(std::int32_t)) return array;
  py::array_t<std::int32_t> copy(array.size());
  std::copy_n(x, size, copy.mutable_data());
  return copy;
}

class PlainParts {
 public:
  PlainParts(std::string dtype, const std::vector<std::tuple<Shape, std::int64_t, double, double>>& wanted,
             const std::vector<py::array>& weights)
      : float32_(dtype == "float32"), weights_(weights) {
    for (const auto& [shape, classes, low, high] : wanted) wanted_.push_back({shape, classes, low, high});
  }

  // The parts of `value`, an array or a list or tuple of several, as (rows, arrays, greatest magnitudes); or None.
  // n: rows that there have to be, -1: any number but 0.
  py::object read(const py::object& value, std::int64_t n) const {
    const bool one = wanted_.size() == 1;
    if (!one && !((PyList_CheckExact(value.ptr()) || PyTuple_CheckExact(value.ptr())) &&
                  static_cast<std::size_t>(PySequence_Fast_GET_SIZE(value.ptr())) == wanted_.size())) {
      return py::none();
    }
    py::list arrays(wanted_.size()), largest(wanted_.size());
    for (std::size_t k = 0; k < wanted_.size(); ++k) {
      PyObject* const part = one ? value.ptr() : PySequence_Fast_GET_ITEM(value.ptr(), static_cast<py::ssize_t>(k));
      if (!is_plain(part)) return py::none();
      const auto array = py::reinterpret_borrow<py::array>(part);
      if (array.size() > kMostValues) return py::none();
      if (n < 0) n = array.ndim() > 0 ? array.shape(0) : 0;
      double most = 0;
      py::object found = n > 0 ? read_part(array, n, wanted_[k], &most) : py::none();
      if (found.is_none()) return found;
      PyList_SET_ITEM(arrays.ptr(), static_cast<py::ssize_t>(k), found.release().ptr());
      PyList_SET_ITEM(largest.ptr(), static_cast<py::ssize_t>(k), PyFloat_FromDouble(most));
    }
    return py::make_tuple(n, arrays, largest);
  }

  // What `read` finds of both, the targets with their word whether they are labels, and what holds all of the arrays,
  // as (rows, inputs, targets, greatest magnitudes of the inputs, holds); or None.
  py::object read_with(const py::object& value, const PlainParts& targets, const py::list& labels,
                       const py::object& y) const {
    const py::object inputs = read(value, -1);
    if (inputs.is_none()) return inputs;
    const py::tuple found = py::reinterpret_borrow<py::tuple>(inputs);
    const py::object given = targets.read(y, found[0].cast<std::int64_t>());
    if (given.is_none()) return given;
    const py::list xs = found[1], ys = py::reinterpret_borrow<py::tuple>(given)[1];
    py::list pairs, held;
    for (const py::handle x : xs) held.append(holding(py::reinterpret_borrow<py::array>(x)));
    for (std::size_t k = 0; k < ys.size(); ++k) {
      pairs.append(py::make_tuple(ys[k], labels[k]));
      held.append(holding(py::reinterpret_borrow<py::array>(ys[k])));
    }
    return py::make_tuple(found[0], xs, pairs, found[2], held);
  }

 private:
  py::object read_part(const py::array& array, std::int64_t n, const Wanted& wanted, double* most) const {
    PyObject* const object = array.ptr();
    if (!apart(array)) return py::none();
    if (wanted.classes > 0) {
      if (!has_rows(array, n, {})) return py::none();
      if (has_type<std::int32_t>(object)) return labels_of<std::int32_t>(array, wanted.classes);
      if (has_type<std::int64_t>(object)) return labels_of<std::int64_t>(array, wanted.classes);
      return py::none();
    }
    if (!(has_type<float>(object) || has_type<double>(object))) return py::none();
    py::object result = array;
    if (!has_rows(array, n, wanted.shape)) {
      if (wanted.shape.back() != 1 || !has_rows(array, n, Shape(wanted.shape.begin(), wanted.shape.end() - 1))) {
        return py::none();
      }
      result = py::array(array).reshape(with_rows(n, wanted.shape));
    }
    const ArrayView view = view_of(array, "array");
    const FlawReport report = float32_ ? find_flaws<float>(view) : find_flaws<double>(view);
    if (report.kind != Flaw::kNone) return py::none();
    *most = report.largest;
    if (std::isinf(wanted.low) && std::isinf(wanted.high)) return result;
    const bool between = has_type<float>(object) ? all_between<float>(array, wanted.low, wanted.high)
                                                 : all_between<double>(array, wanted.low, wanted.high);
    return between ? result : py::none();
  }

  bool apart(const py::array& array) const {
    if ((array.flags() & py::detail::npy_api::NPY_ARRAY_OWNDATA_) != 0) return true;
    return std::none_of(weights_.begin(), weights_.end(), [&](const py::array& weight) { return meet(array, weight); });
  }

  bool float32_;
  std::vector<Wanted> wanted_;
  std::vector<py::array> weights_;
};

}  // namespace

void bind_plain(py::module_& m) {
  py::class_<PlainParts>(m, "PlainParts")
      .def(py::init<std::string, const std::vector<std::tuple<Shape, std::int64_t, double, double>>&,
                    const std::vector<py::array>&>(),
           py::arg("dtype"), py::arg("wanted"), py::arg("weights"))
      .def("read", &PlainParts::read, py::arg("value"), py::arg("n") = -1)
      .def("read_with", &PlainParts::read_with, py::arg("value"), py::arg("targets"), py::arg("labels"), py::arg("y"));
  m.def(
      "hold",
      [](const py::list& arrays) {
        py::list found;
        for (py::handle array : arrays) {
          if (!array.is_none()) found.append(holding(py::reinterpret_borrow<py::array>(array)));
        }
        return found;
      },
      py::arg("arrays"));
}

}  // namespace bp
