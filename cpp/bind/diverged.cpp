#include "bind/diverged.h"

#include "bind/parts.h"
#include "plan/frame.h"

namespace bp {
namespace {

py::object& type() {
  static auto& type = *new py::object;  // set once, at import; lives longer than the interpreter
  return type;
}

void set_error(const std::string& message, const py::dict& details) {
  PyErr_SetObject(type().ptr(), py::make_tuple(message, details).ptr());
}

}  // namespace

py::dict details_of(const DivergedReport& report) {
  py::dict details;
  details["batch"] = report.batch;
  details["layer"] = report.flaw.layer;
  details["tensor"] = report.flaw.tensor;
  details["row"] = report.flaw.row;
  details["sample"] = report.sample;
  return details;
}

void raise_diverged(const DivergedReport& report) {
  const NonFinite& flaw = report.flaw;
  set_error("batch " + std::to_string(report.batch) + ": " + flaw.tensor + " of '" + flaw.layer + "' is not finite" +
                (flaw.row >= 0 ? " (row " + std::to_string(flaw.row) + ")" : ""),
            details_of(report));
  throw py::error_already_set();
}

void bind_diverged(py::module_& m) {
  type() = py::reinterpret_steal<py::object>(PyErr_NewExceptionWithDoc(
      "bpcore._core.Diverged", "A number is not finite; args[1] tells where.", PyExc_RuntimeError, nullptr));
  m.attr("Diverged") = type();
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(std::move(error));
    } catch (const BadStatistics& e) {
      py::dict details;
      details["layer"] = e.layer;
      details["tensor"] = "statistics";
      set_error("statistics of '" + e.layer + "' would not be finite", details);
    }
  });
}

}  // namespace bp
