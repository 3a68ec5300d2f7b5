// Arrays that the quick ways take as they lie.
#pragma once

#include "bind/array.h"

namespace bp {

// An ndarray proper in C order, aligned, in this machine's byte order.
inline bool is_plain(PyObject* object) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != array_type()) return false;
  constexpr int kPlain = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  const auto* array = py::detail::array_proxy(object);
  const char order = py::detail::array_descriptor_proxy(array->descr)->byteorder;
  return (array->flags & kPlain) == kPlain && (order == '=' || order == '|');
}

template <class T> bool has_type(PyObject* array) {
  const auto* type = py::detail::array_descriptor_proxy(py::detail::array_proxy(array)->descr);
  return type->type_num == py::detail::npy_format_descriptor<T>::value;
}

// Of shape (n, *shape); n < 0: any number of rows.
inline bool has_rows(const py::array& array, std::int64_t n, const Shape& shape) {
  return array.ndim() == static_cast<py::ssize_t>(shape.size()) + 1 && (n < 0 || array.shape(0) == n) &&
         std::equal(shape.begin(), shape.end(), array.shape() + 1);
}

// Whether two arrays in C order share memory.
inline bool meet(const py::array& a, const py::array& b) {
  const auto *x = static_cast<const char*>(a.data()), *y = static_cast<const char*>(b.data());
  return x < y + b.nbytes() && y < x + a.nbytes();
}

}  // namespace bp
