// Giving the GIL away, taking it back, and calling Python, in threads that the interpreter's end may meet.
//
// A daemon thread that asks for the GIL when the interpreter has begun to end never gets it. CPython before 3.14 ends
// such a thread by pthread_exit, which unwinds its stack as an exception would: a destructor on the way is noexcept, so
// that it ends the process ("terminate called"), and whoever owns Python objects would release them without the GIL.
// Here the thread stays where it is until the process ends, as with CPython 3.14.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace bp {

namespace py = pybind11;

// A call of Python's C interface that may ask for the GIL, right below this frame; it throws no exception of C++.
template <class Call> decltype(auto) until_python_ends(Call&& call) noexcept {
  try {
    return call();
  } catch (...) {  // the unwinding of pthread_exit; it may not go on, and may not end here
    for (;;) pause();
  }
}

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    until_python_ends([this] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

class GilAcquire {
 public:
  GilAcquire() : state_(until_python_ends([] { return PyGILState_Ensure(); })) {}
  ~GilAcquire() { PyGILState_Release(state_); }
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;

 private:
  PyGILState_STATE state_;
};

// function(*args) of the user's: it may run for long, and lose the GIL at any moment.
inline py::object call_python_with(const py::object& function, const py::tuple& args) {
  PyObject* result = until_python_ends([&] { return PyObject_CallObject(function.ptr(), args.ptr()); });
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}
template <class... Args> py::object call_python(const py::object& function, Args&&... args) {
  return call_python_with(function, py::make_tuple(std::forward<Args>(args)...));
}

// For set_interrupt(): whatever a signal's handler in Python raises, KeyboardInterrupt above all.
inline void ask_for_signals() {
  GilAcquire gil;
  if (until_python_ends([] { return PyErr_CheckSignals(); }) != 0) throw py::error_already_set();
}

}  // namespace bp
