// The module _core: a list of its parts.
#include "base/check.h"
#include "base/watch.h"
#include "bind/gil.h"
#include "bind/parts.h"
#include "kernels/table.h"

PYBIND11_MODULE(core, m, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  m.doc() = "The compiled core of bpcore. Private: use the package's public names.";
  bp::select_tier("");
  bp::set_interrupt(bp::ask_for_signals);
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(std::move(error));
    } catch (const std::bad_alloc& e) {
      bp::set_memory_error(e);
    }
  });
  bp::bind_diverged(m);
  bp::bind_tools(m);
  bp::bind_counter(m);
  bp::bind_scopes(m);
  bp::bind_network(m);
  bp::bind_optimizers(m);
  bp::bind_trainer(m);
  bp::bind_stretch(m);
  bp::bind_stream(m);
  bp::bind_passes(m);
  bp::bind_plain(m);
  bp::bind_weights(m);
  bp::bind_solver(m);
  bp::bind_kfac(m);
  bp::bind_derivatives(m);
  bp::bind_rehearsal(m);
}

// Before anything of pybind11's, which waits for the GIL that it holds where a subinterpreter shares that with the
// first one.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit_core();
  PyErr_SetString(PyExc_ImportError,
                  "bpcore was imported in a subinterpreter, expected the main interpreter of the process, as NumPy "
                  "supports no other; use threads, or processes");
  return nullptr;
}
