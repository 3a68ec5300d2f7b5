#include "bind/array.h"

#include <bit>

#include "ops/op.h"

namespace bp {
namespace {

DType dtype_of(const py::dtype& dtype, const std::string& what) {
  const char kind = dtype.kind();
  const auto size = dtype.itemsize();
  const auto by_size = [&](DType one, DType two, DType four, DType eight) {
    return size == 1 ? one : size == 2 ? two : size == 4 ? four : eight;
  };
  if (kind == 'b') return DType::kBool;
  if (kind == 'i') return by_size(DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64);
  if (kind == 'u') return by_size(DType::kUint8, DType::kUint16, DType::kUint32, DType::kUint64);
  if (kind == 'f' && size == 2) return DType::kFloat16;
  if (kind == 'f' && size == 4) return DType::kFloat32;
  if (kind == 'f' && size == 8) return DType::kFloat64;
  throw py::type_error(what + ": got dtype '" + std::string(py::str(dtype)) +
                       "', expected bool, integers or floats of at most 64 bits");
}

}  // namespace

ArrayView view_of(const py::array& array, const std::string& what) {
  ArrayView view;
  view.data = static_cast<const char*>(array.data());
  view.dtype = dtype_of(array.dtype(), what);
  const char order = array.dtype().byteorder();
  view.swapped = order == '>' && std::endian::native == std::endian::little;
  if (array.ndim() > kMaxRank) throw py::value_error(what + ": more than 16 axes");
  view.rank = static_cast<int>(array.ndim());
  for (int axis = 0; axis < view.rank; ++axis) {
    view.shape[axis] = array.shape(axis);
    view.stride[axis] = array.strides(axis);
  }
  return view;
}

py::weakref holding(const py::array& array) {
  py::object owner = array;
  while (py::isinstance<py::array>(owner)) {
    const py::object base = py::reinterpret_borrow<py::array>(owner).base();
    if (!base || !py::isinstance<py::array>(base)) break;
    owner = base;
  }
  return py::weakref(owner);
}

void set_memory_error(const std::bad_alloc& error) {
  const bool told = dynamic_cast<const OutOfMemory*>(&error) != nullptr;
  PyErr_SetString(PyExc_MemoryError, told ? error.what() : "no memory for a small object of the core");
}

PyObject* array_type() {
  static PyObject* type = py::module_::import("numpy").attr("ndarray").ptr();  // lives as long as numpy
  return type;
}

py::array empty_aligned(const Shape& shape, const py::dtype& dtype) {
  const std::int64_t bytes = checked_mul(size_of(shape), dtype.itemsize());
  const std::string what = "an array of shape " + to_string(shape);
  auto* owner = new Buffer<char>(bytes, what.c_str());
  py::capsule base(owner, [](void* p) { delete static_cast<Buffer<char>*>(p); });
  return py::array(dtype, std::vector<py::ssize_t>(shape.begin(), shape.end()), owner->data(), base);
}

}  // namespace bp
