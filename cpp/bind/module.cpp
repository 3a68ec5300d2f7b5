// The module _core: a list of its parts.
#include "base/check.h"
#include "bind/parts.h"
#include "kernels/table.h"

namespace bp {

py::object& diverged_type() {
  static py::object type;  // set once, at import
  return type;
}

}  // namespace bp

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  m.doc() = "The compiled core of bpcore. Private: use the package's public names.";
  bp::select_tier("");
  bp::diverged_type() = py::reinterpret_steal<py::object>(
      PyErr_NewExceptionWithDoc("bpcore._core.Diverged", "A loss or gradient is not finite; args[1] tells where.",
                                PyExc_RuntimeError, nullptr));
  m.attr("Diverged") = bp::diverged_type();
  bp::bind_tools(m);
  bp::bind_network(m);
  bp::bind_trainer(m);
}
