// Passes: forward and backward of a loop of the caller's own, in Python's hands.
#include "train/passes.h"

#include "bind/gradients.h"
#include "bind/network.h"
#include "bind/running.h"
#include "bind/states.h"

namespace bp {
namespace {

template <class T> class PyPasses {
 public:
  PyPasses(std::shared_ptr<Network<T>> net, std::shared_ptr<Counter> draws)
      : net_(std::move(net)), passes_(std::make_unique<Passes<T>>(net_->graph(), std::move(draws))) {}
  ~PyPasses() {
    if (deserted()) static_cast<void>(passes_.release());  // nothing in it can be relied on
  }
  PyPasses(const PyPasses&) = delete;
  PyPasses& operator=(const PyPasses&) = delete;

  bool deserted() const { return gate_.deserted(); }
  std::int64_t rows() const { return passes_->rows(); }

  // The outputs, an array of its own each.
  py::list forward(const std::vector<py::array>& xs, bool training, bool settled) {
    BatchSource<T> source;
    source.xs = net_->readers(xs, &source.n);
    std::vector<py::weakref> held;
    for (const py::array& x : xs) held.push_back(holding(x));
    run([&] { return passes_->forward(source, training, settled); });
    py::list ys;
    const Graph<T>& graph = *net_->graph();
    for (std::size_t k = 0; k < graph.outputs.size(); ++k) {
      const Shape& shape = graph.shapes[static_cast<std::size_t>(graph.outputs[k])];
      ys.append(copy_out(passes_->output(k), with_rows(source.n, shape)));
    }
    return ys;
  }

  Passes<T>& core() { return *passes_; }

  // "" if backward may come, or why not.
  const char* obstacle() const {
    switch (passes_->state()) {
      case Passes<T>::State::kNone: return "none";
      case Passes<T>::State::kUsed: return "used";
      case Passes<T>::State::kChanged: return "changed";
      case Passes<T>::State::kForeign: return "foreign";
      default: return "";
    }
  }

  // dy by output, of the outputs' shapes; grads by parameter, or None. The gradients of the inputs, or None.
  py::object backward(const std::vector<py::array>& dys, const py::object& grads, bool inputs) {
    const Graph<T>& graph = *net_->graph();
    check(passes_->state() == Passes<T>::State::kKept, "backward: there is no pass to go back through");
    check(dys.size() == graph.outputs.size(), "backward: one dy for each output");
    std::vector<RowReader<T>> readers;
    for (std::size_t k = 0; k < dys.size(); ++k) {
      readers.emplace_back(view_of(dys[k], "dy"));
      check(dys[k].ndim() >= 1 && dys[k].shape(0) == passes_->rows() &&
                readers.back().row_size() == graph.size(graph.outputs[k]),
            "backward: a dy of another shape than the output");
    }
    const std::vector<T*> to = grads.is_none() ? std::vector<T*>() : gradients_of(graph, py::list(grads));
    check(!passes_->take_deltas(readers), "backward: a dy is not finite");
    run([&] { return passes_->backward(to, inputs); });
    if (!inputs) return py::none();
    py::list dxs;
    for (std::size_t k = 0; k < graph.inputs.size(); ++k) {
      const Shape shape = with_rows(passes_->rows(), graph.shapes[static_cast<std::size_t>(graph.inputs[k])]);
      dxs.append(gradient_or_zeros(passes_->input_gradient(k), shape));
    }
    return dxs;
  }

 private:
  template <class Call> void run(Call&& call) {
    std::optional<NonFinite> flaw;
    {
      const Alone alone(gate_);
      flaw = call();
    }
    if (flaw) raise_diverged({0, flaw->row, *flaw});
  }

  std::shared_ptr<Network<T>> net_;
  std::unique_ptr<Passes<T>> passes_;
  Gate gate_;
};

template <class T> void bind(py::module_& m, const char* name) {
  using P = PyPasses<T>;
  py::class_<P>(m, name)
      .def(py::init<std::shared_ptr<Network<T>>, std::shared_ptr<Counter>>(), py::arg("net"), py::arg("draws"))
      .def("forward", &P::forward, py::arg("xs"), py::arg("training"), py::arg("settled") = true)
      .def(
          "settle", [](P& p) { p.core().settle(); }, "Of a forward that was not settled: it was a training batch.")
      .def("backward", &P::backward, py::arg("dys"), py::arg("grads"), py::arg("inputs"))
      .def_property_readonly(
          "rows", [](const P& p) { return p.rows(); }, "Of the pass that is kept.")
      .def("states", [](P& p) { return states_of(p.core().states()); })
      .def(
          "set_states", [](P& p, const StateArrays<T>& states) { p.core().set_states(states_from<T>(states)); },
          py::arg("states"))
      .def(
          "reset_states", [](P& p, bool stateful_too) { p.core().reset_states(stateful_too); },
          py::arg("stateful_too") = true)
      .def_property_readonly("obstacle", &P::obstacle)
      .def_property_readonly("deserted", &P::deserted);
}

}  // namespace

void bind_passes(py::module_& m) {
  bind<float>(m, "PassesFloat32");
  bind<double>(m, "PassesFloat64");
}

}  // namespace bp
