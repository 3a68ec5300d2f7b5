// With blocks whose ends no interrupt can part from what is between them: gates, which keep the calls of one model
// apart, a number of threads for some time, calls that are due at the end, and objects that an error must not change.
//
// What a scope has begun is over with its `with` block, or else with the object: an interrupt may come after the object
// has been made and before its block has begun (CPython looks at signals between the two from 3.14 on), and then the
// object dies, as nothing holds it.
#include <algorithm>
#include <chrono>
#include <thread>

#include "base/fork.h"
#include "base/threads.h"
#include "bind/gil.h"
#include "bind/parts.h"

namespace bp {
namespace {

class Turn {
 public:
  explicit Turn(std::shared_ptr<Gate> gate) : gate_(std::move(gate)), entry_(*gate_) {}
  bool inside() const { return entry_.inside(); }
  void end() { entry_.leave(); }

 private:
  std::shared_ptr<Gate> gate_;
  Entry entry_;
};

std::unique_ptr<Turn> enter(const std::shared_ptr<Gate>& gate) {
  auto turn = std::make_unique<Turn>(gate);
  return turn->inside() ? std::move(turn) : nullptr;
}

bool python_ends() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

// Asleep for a part of the time it has waited already, at most a millisecond: no lock that a fork or a signal could
// leave in disorder, for what seldom happens.
std::unique_ptr<Turn> wait(const std::shared_ptr<Gate>& gate) {
  using namespace std::chrono;
  const auto start = steady_clock::now();
  for (;;) {
    if (auto turn = enter(gate)) return turn;
    if (gate->mine() || python_ends()) return nullptr;  // who is inside will never leave
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    const nanoseconds pause = (steady_clock::now() - start) / 8;
    GilRelease release;
    std::this_thread::sleep_for(std::min<nanoseconds>(pause, milliseconds(1)));
  }
}

class ThreadCount {
 public:
  ThreadCount(int n, bool exact) : now_{n, exact} {}
  ~ThreadCount() {
    while (!before_.empty()) leave();
  }
  void enter() {
    before_.push_back({num_threads(), exact_threads()});
    set_num_threads(now_.n, now_.exact);
  }
  void leave() {
    if (before_.empty()) return;
    set_num_threads(before_.back().n, before_.back().exact);
    before_.pop_back();
  }

 private:
  struct Wish {
    int n;
    bool exact;
  };
  Wish now_;
  std::vector<Wish> before_;  // by block, if one object serves for several inside of each other
};

// A scope whose end matters: where __exit__ was not called, as after an exception that a trace function raised, the
// object's own end is that of a block that failed.
template <class Scope> class Ending {
 public:
  void enter() { inside_ = true; }
  void leave(const py::object& error) {
    inside_ = false;
    static_cast<Scope*>(this)->end(error);
  }

 protected:
  void abandon() {
    if (!inside_) return;
    const py::error_scope under_way;
    try {
      leave(py::bool_(true));
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("the end of a block");
    }
  }

 private:
  bool inside_ = false;
};

// Calls all of them, whatever some raise; the first exception comes after the last call, or as a warning if there is
// one under way, which is the one to see.
class Finally : public Ending<Finally> {
 public:
  Finally(py::list calls, std::string what) : calls_(std::move(calls)), what_(std::move(what)) {}
  ~Finally() { abandon(); }
  void end(const py::object& under_way) {
    py::object first;
    for (py::handle call : calls_) {
      try {
        call_python(py::reinterpret_borrow<py::object>(call));
      } catch (const py::error_already_set& error) {
        if (!first) first = error.value();
      }
    }
    if (!first) return;
    if (under_way.is_none()) {
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(first.ptr())), first.ptr());
      throw py::error_already_set();
    }
    const auto text = what_ + " raised " + std::string(py::repr(first));
    if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) < 0) throw py::error_already_set();
  }

 private:
  py::list calls_;
  std::string what_;
};

// Objects have the attributes they had, a dict each, again if the block raises.
class Restored : public Ending<Restored> {
 public:
  explicit Restored(py::list states) : states_(std::move(states)) {}
  ~Restored() { abandon(); }
  void end(const py::object& error) {
    if (error.is_none()) return;
    const py::str name("__dict__");
    for (py::handle item : states_) {
      const auto pair = py::reinterpret_borrow<py::tuple>(item);
      if (PyObject_GenericSetAttr(py::object(pair[0]).ptr(), name.ptr(), py::object(pair[1]).ptr()) < 0) {
        throw py::error_already_set();
      }
    }
  }

 private:
  py::list states_;
};

// The usual end of a with block, where only its end matters.
template <class Scope, class End> void def_exit(py::class_<Scope>& scope, End end) {
  scope.def("__exit__", [end](Scope& self, const py::object& type, py::handle, py::handle) { end(self, type); });
}

}  // namespace

void bind_scopes(py::module_& m) {
  py::class_<Turn> turn(m, "Turn");
  turn.def("__enter__", [](const py::object& self) { return self; });
  def_exit(turn, [](Turn& self, const py::object&) { self.end(); });
  py::class_<ThreadCount> count(m, "ThreadCount");
  count.def(py::init<int, bool>(), py::arg("n"), py::arg("exact") = false).def("__enter__", &ThreadCount::enter);
  def_exit(count, [](ThreadCount& self, const py::object&) { self.leave(); });
  py::class_<Finally> due(m, "Finally");
  due.def(py::init<py::list, std::string>(), py::arg("calls"), py::arg("what")).def("__enter__", &Finally::enter);
  def_exit(due, [](Finally& self, const py::object& under_way) { self.leave(under_way); });
  py::class_<Restored> restored(m, "Restored");
  restored.def(py::init<py::list>(), py::arg("states")).def("__enter__", &Restored::enter);
  def_exit(restored, [](Restored& self, const py::object& error) { self.leave(error); });
  py::class_<Gate, std::shared_ptr<Gate>>(m, "Gate")
      .def(py::init<>())
      .def("enter", &enter, "A turn, or None if another call is inside.")
      .def("wait", &wait, "A turn, when the calls of other threads are over; None if this thread's own is inside.")
      .def_property_readonly("held", &Gate::held)
      .def_property_readonly("mine", &Gate::mine);
}

}  // namespace bp
