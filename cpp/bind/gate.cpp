// Gates in Python's hands: what keeps the calls of one model apart.
//
// A turn is over with its `with` block, or else with the object: an interrupt may come after the call that made it and before
// the block has begun (CPython looks at signals between the two from 3.14 on), and then the object dies, as nothing holds it.
#include <algorithm>
#include <chrono>
#include <thread>

#include "base/fork.h"
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

// Asleep for a part of the time it has waited already, at most a millisecond: no lock that a fork or a signal could leave in
// disorder, for what seldom happens.
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

}  // namespace

void bind_gate(py::module_& m) {
  py::class_<Turn>(m, "Turn")
      .def("__enter__", [](const py::object& self) { return self; })
      .def("__exit__", [](Turn& turn, py::handle, py::handle, py::handle) { turn.end(); });
  py::class_<Gate, std::shared_ptr<Gate>>(m, "Gate")
      .def(py::init<>())
      .def("enter", &enter, "A turn, or None if another call is inside.")
      .def("wait", &wait, "A turn, when the calls of other threads are over; None if this thread's own is inside.")
      .def_property_readonly("held", &Gate::held)
      .def_property_readonly("mine", &Gate::mine);
}

}  // namespace bp
