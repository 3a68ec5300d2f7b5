// K-FAC in Python's hands: what it knows from batch to batch, and what a trainer is told of it.
#include "solve/kfac.h"
#include "bind/array.h"
#include "bind/parts.h"

namespace bp {
namespace {

using Arrays = std::map<std::string, py::array_t<double, py::array::c_style | py::array::forcecast>>;

constexpr const char *kBatches = "batches", *kLast = "last";  // beside the names of matrices, which have a slash

py::dict arrays_of(const Factors& factors) {
  py::dict dict;
  if (factors.batches == 0) return dict;
  dict[kBatches] = py::array_t<double>(1, std::vector<double>{static_cast<double>(factors.batches)}.data());
  for (const auto& [name, matrix] : factors.matrices) {
    const auto n = static_cast<py::ssize_t>(std::llround(std::sqrt(static_cast<double>(matrix.size()))));
    dict[name.c_str()] = py::array_t<double>({n, n}, matrix.data());
  }
  if (!factors.last.empty()) {
    dict[kLast] = py::array_t<double>(static_cast<py::ssize_t>(factors.last.size()), factors.last.data());
  }
  return dict;
}

void set_arrays(Factors& factors, const Arrays& arrays) {
  Factors made;
  for (const auto& [name, array] : arrays) {
    if (name == kBatches) {
      check(array.size() == 1 && array.data()[0] >= 0, "factors: batches must be a number >= 0");
      made.batches = static_cast<std::int64_t>(array.data()[0]);
      continue;
    }
    if (name == kLast) {
      check(array.ndim() == 1, "factors: last must be a vector");
      made.last = {array.data(), array.data() + array.size()};
      continue;
    }
    check(array.ndim() == 2 && array.shape(0) == array.shape(1), "factors: '" + name + "' must be a square matrix");
    made.matrices[name] = {array.data(), array.data() + array.size()};
  }
  factors = std::move(made);
}

}  // namespace

template <class T> PreconditionerMaker<T> parse_kfac(const py::dict& dict) {
  const KfacOptions options{dict["damping"].cast<double>(),
                            dict["decay"].cast<double>(),
                            dict["trust"].cast<double>(),
                            dict["refresh"].cast<std::int64_t>(),
                            static_cast<Rescale>(dict["rescale"].cast<int>()),
                            dict["expected"].cast<bool>(),
                            dict["seed"].cast<std::uint64_t>()};
  check(options.damping >= 0 && options.decay >= 0 && options.decay < 1 && options.refresh >= 1,
        "K-FAC: damping >= 0, decay in [0, 1), refresh >= 1");
  const auto factors = dict["factors"].cast<std::shared_ptr<Factors>>();
  return [=](std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config) {
    return std::make_unique<Kfac<T>>(std::move(graph), std::move(config), options, factors);
  };
}
template PreconditionerMaker<float> parse_kfac<float>(const py::dict& dict);
template PreconditionerMaker<double> parse_kfac<double>(const py::dict& dict);

void bind_kfac(py::module_& m) {
  py::class_<Factors, std::shared_ptr<Factors>>(m, "Factors")
      .def(py::init<>())
      .def("state", &arrays_of)
      .def("set_state", &set_arrays, py::arg("state"));
}

}  // namespace bp
