// rehearse(): a network on the worst terms that the contract of operations allows (plan/rehearsal.h), for the tests.
#include "plan/rehearsal.h"
#include "base/threads.h"
#include "bind/network.h"
#include "bind/parts.h"

namespace bp {
namespace {

template <class T> using Dense = py::array_t<T, py::array::c_style>;

template <class T> std::vector<const T*> data_of(const std::vector<Dense<T>>& arrays) {
  std::vector<const T*> data;
  for (const auto& array : arrays) data.push_back(array.data());
  return data;
}

// (ys, dxs, dws, ws): outputs, gradients of the inputs and of the parameters, and the parameters after a training
// batch.
template <class T>
py::tuple rehearse(const Network<T>& net, const std::vector<Dense<T>>& xs, const std::vector<Dense<T>>& dys,
                   std::int64_t block, std::int64_t piece, std::int64_t shift, std::uint16_t pattern, bool add,
                   const std::vector<Dense<T>>& w_back) {
  const Graph<T>& graph = *net.graph();
  check(xs.size() == graph.inputs.size() && dys.size() == graph.outputs.size(), "an array for each input and output");
  check(block >= 0 && piece >= 0 && shift >= 0 && !xs.empty() && xs[0].ndim() > 0, "no such terms");
  const std::int64_t n = xs[0].shape(0);
  const auto fits = [&](const Dense<T>& array, int v) {
    check(shape_of(array) == with_rows(n, graph.shapes[static_cast<std::size_t>(v)]), "an array of another shape");
  };
  for (std::size_t k = 0; k < xs.size(); ++k) fits(xs[k], graph.inputs[k]);
  for (std::size_t k = 0; k < dys.size(); ++k) fits(dys[k], graph.outputs[k]);
  check(w_back.empty() || w_back.size() == graph.params.size(), "an array for each parameter");
  for (std::size_t p = 0; p < w_back.size(); ++p) {
    check(shape_of(w_back[p]) == graph.params[p].shape, "an array of another shape");
  }
  const FloatEnvironment environment;
  Rehearsal<T> run(net.graph(), data_of(xs), data_of(dys), data_of(w_back), n,
                   Terms{block, piece, shift, pattern, add});
  py::list ys, dxs, dws, ws;
  for (int v : graph.outputs) {
    ys.append(copy_out(run.value(v), with_rows(n, graph.shapes[static_cast<std::size_t>(v)])));
  }
  for (int v : graph.inputs) {
    const T* dx = run.gradient(v);
    if (dx == nullptr) {
      dxs.append(py::none());
    } else {
      dxs.append(copy_out(dx, with_rows(n, graph.shapes[static_cast<std::size_t>(v)])));
    }
  }
  for (std::size_t p = 0; p < graph.params.size(); ++p) {
    dws.append(copy_out<T>(run.gradient_of_parameter(static_cast<int>(p)), graph.params[p].shape));
    ws.append(copy_out<T>(run.parameter(static_cast<int>(p)), graph.params[p].shape));
  }
  return py::make_tuple(ys, dxs, dws, ws);
}

template <class T> void bind(py::module_& m) {
  m.def("rehearse", &rehearse<T>, py::arg("network"), py::arg("xs"), py::arg("dys"), py::arg("block") = 0,
        py::arg("piece") = 0, py::arg("shift") = 0, py::arg("pattern") = 0, py::arg("add") = false,
        py::arg("w_back") = std::vector<Dense<T>>{});
}

}  // namespace

void bind_rehearsal(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace bp
