// The parts of the module, one .cpp each.
#pragma once

#include "bind/array.h"
#include "train/job.h"

namespace bp {

void bind_counter(py::module_& m);
void bind_diverged(py::module_& m);
void bind_scopes(py::module_& m);
void bind_network(py::module_& m);
void bind_optimizers(py::module_& m);
void bind_trainer(py::module_& m);
void bind_stretch(py::module_& m);
void bind_stream(py::module_& m);
void bind_passes(py::module_& m);
void bind_plain(py::module_& m);
void bind_weights(py::module_& m);
void bind_solver(py::module_& m);
void bind_kfac(py::module_& m);
void bind_derivatives(py::module_& m);
void bind_tools(py::module_& m);
void bind_rehearsal(py::module_& m);

OptimizerConfig parse_optimizer(const py::dict& dict);
template <class T> PreconditionerMaker<T> parse_kfac(const py::dict& dict);
template <class T>
Compute parse_compute(const std::string& name);  // "", T's own or, of float32, "bfloat16": the instruction for it

}  // namespace bp
