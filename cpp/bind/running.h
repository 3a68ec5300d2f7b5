// What calls into the core that run for some time share: the GIL given away, and what was not finite, as Python is told.
#pragma once

#include "base/fork.h"
#include "bind/gil.h"
#include "bind/parts.h"
#include "train/trainer.h"

namespace bp {

inline py::dict details_of(const DivergedReport& report) {
  py::dict details;
  details["batch"] = report.batch;
  details["layer"] = report.flaw.layer;
  details["tensor"] = report.flaw.tensor;
  details["row"] = report.flaw.row;
  details["sample"] = report.sample;
  return details;
}

[[noreturn]] inline void raise_diverged(const DivergedReport& report) {
  const NonFinite& flaw = report.flaw;
  const std::string message = "batch " + std::to_string(report.batch) + ": " + flaw.tensor + " of '" + flaw.layer +
                              "' is not finite" + (flaw.row >= 0 ? " (row " + std::to_string(flaw.row) + ")" : "");
  const py::tuple args = py::make_tuple(message, details_of(report));
  PyErr_SetObject(diverged_type().ptr(), args.ptr());
  throw py::error_already_set();
}

// What runs without the GIL. The models' own gates keep their calls apart; this one tells of a fork.
struct Alone {
  explicit Alone(Gate& gate) : entry(gate) { check(entry.inside(), "two threads are in one trainer"); }
  const Entry entry;
  const GilRelease release;
};

}  // namespace bp
