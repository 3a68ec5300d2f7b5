// Counter: a count that the core raises and Python reads.
#include "base/counter.h"
#include "base/check.h"
#include "bind/parts.h"

namespace bp {
namespace {

// What counts up by one at a time and is to have room for it.
void set_counter(Counter& counter, std::int64_t value) {
  check(value >= 0 && value <= std::int64_t{1} << 62,
        "a counter: got " + std::to_string(value) + ", expected 0 to 2^62");
  counter.set(value);
}

}  // namespace

void bind_counter(py::module_& m) {
  py::class_<Counter, std::shared_ptr<Counter>>(m, "Counter")
      .def(py::init([](std::int64_t value) {
             auto counter = std::make_shared<Counter>();
             set_counter(*counter, value);
             return counter;
           }),
           py::arg("value") = 0)
      .def_property("value", &Counter::get, &set_counter);
}

}  // namespace bp
