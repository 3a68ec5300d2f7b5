// The one place where a NumPy array becomes a view of the core, and the other way round.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/buffer.h"
#include "base/view.h"

namespace bp {

namespace py = pybind11;

// Any real array, of any strides and byte order. TypeError for other dtypes: nothing is converted here.
ArrayView view_of(const py::array& array, const std::string& what);

// The owner of an array's memory, kept from freeing it while the core is at it: x.resize(..., refcheck=False) is an
// error where weak references point to x.
py::weakref holding(const py::array& array);

template <class T> bool is_aligned(const py::array& array) {
  return reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0;
}

// An array the core writes to or trains in place: dtype T, C-contiguous, aligned, writable.
template <class T> T* writable_data(const py::array& array, const std::string& what) {
  const bool fits = array.dtype().equal(py::dtype::of<T>()) && (array.flags() & py::array::c_style) != 0 &&
                    is_aligned<T>(array) && array.writeable();
  if (!fits)
    throw py::type_error(what + ": expected a writable C-contiguous array of dtype " +
                         std::string(py::str(py::dtype::of<T>())));
  return static_cast<T*>(const_cast<void*>(array.data()));
}

inline Shape shape_of(const py::array& array) { return Shape(array.shape(), array.shape() + array.ndim()); }

// NumPy's own, not written to, of these sizes; without the vectors that pybind11 makes on the way.
template <class T> py::array new_of(int axes, py::ssize_t* sizes) {
  auto& api = py::detail::npy_api::get();
  PyObject* const made = api.PyArray_NewFromDescr_(api.PyArray_Type_, py::dtype::of<T>().release().ptr(), axes, sizes,
                                                   nullptr, nullptr, 0, nullptr);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(made);
}

template <class T> py::array new_rows(std::int64_t n, const Shape& sample) {
  py::ssize_t sizes[kMaxRank + 1] = {n};
  check(sample.size() <= kMaxRank, "an array of more than 16 axes");
  std::copy(sample.begin(), sample.end(), sizes + 1);
  return new_of<T>(static_cast<int>(sample.size()) + 1, sizes);
}

template <class T> py::array new_array(const Shape& shape) {
  py::ssize_t sizes[kMaxRank + 1] = {};
  check(shape.size() <= kMaxRank, "an array of more than 16 axes");
  std::copy(shape.begin(), shape.end(), sizes);
  return new_of<T>(static_cast<int>(shape.size()), sizes);
}

template <class T> py::array copy_out(const T* data, const Shape& shape) {
  py::array out = new_array<T>(shape);
  if (out.size() > 0) std::memcpy(out.mutable_data(), data, static_cast<std::size_t>(out.nbytes()));
  return out;
}

// The gradient of an input; of one behind stops alone it is 0, and was not computed.
template <class T> py::array gradient_or_zeros(const T* data, const Shape& shape) {
  if (data != nullptr) return copy_out(data, shape);
  py::array zeros = new_array<T>(shape);
  std::memset(zeros.mutable_data(), 0, static_cast<std::size_t>(zeros.nbytes()));
  return zeros;
}

inline Shape with_rows(std::int64_t n, const Shape& sample) {
  Shape shape{n};
  shape.insert(shape.end(), sample.begin(), sample.end());
  return shape;
}

void set_memory_error(const std::bad_alloc& error);  // MemoryError, which says for what where that is known
PyObject* array_type();                              // numpy.ndarray
py::array empty_aligned(const Shape& shape, const py::dtype& dtype);  // zero-filled, on a cache line

template <class T> T get_or(const py::dict& dict, const char* key, T fallback) {
  return dict.contains(key) ? dict[key].cast<T>() : fallback;
}

}  // namespace bp
