// Trainer: the epoch loop in Python's hands.
#include "bind/trainer.h"

#include "bind/gathered.h"
#include "bind/gradients.h"
#include "bind/measures.h"
#include "bind/network.h"
#include "bind/parameters.h"
#include "bind/running.h"
#include "bind/states.h"

namespace bp {
namespace {

template <class T> class PyTrainer final : public TrainerHandle<T> {
 public:
  PyTrainer(std::shared_ptr<Network<T>> net, const py::list& losses, const std::vector<double>& loss_weights,
            const py::list& metrics, const py::object& optimizer, const std::vector<std::vector<py::array>>& slots,
            double clip_norm, double clip_value, int accumulate_steps, bool fuse, const py::dict& parameters,
            std::shared_ptr<Counter> steps, std::shared_ptr<Counter> draws)
      : net_(std::move(net)), keep_slots_(slots) {
    const Graph<T>& graph = *net_->graph();
    const bool updates_alone = losses.empty() && loss_weights.empty() && metrics.empty();
    const bool by_output = losses.size() == graph.outputs.size() && loss_weights.size() == losses.size() &&
                           metrics.size() == losses.size();
    check(updates_alone || by_output, "losses, loss_weights and metrics must have one entry per output");
    auto config = std::make_shared<StepConfig<T>>();
    config->clip_norm = clip_norm;
    config->clip_value = clip_value;
    config->accumulate_steps = accumulate_steps;
    config->fuse = fuse;
    config->carries = carries_of(get_or(parameters, "carries", std::string()));
    config->in_stretches = get_or(parameters, "in_stretches", false);
    std::vector<std::vector<MetricConfig<T>>> all_metrics;
    for (std::size_t k = 0; k < losses.size(); ++k) {
      const Shape& shape = graph.shapes[static_cast<std::size_t>(graph.outputs[k])];
      auto loss = parse_loss<T>(py::dict(losses[k]), loss_weights[k], shape);
      config->losses.push_back(bind_loss<T>(graph, graph.outputs[k], std::move(loss)));
      all_metrics.emplace_back();
      for (py::handle metric : py::list(metrics[k])) {
        all_metrics.back().push_back(parse_metric<T>(py::reinterpret_borrow<py::tuple>(metric),
                                                     row_of(shape, config->losses.back().config.steps)));
        const BoundLoss<T>& bound = config->losses.back();
        check(bound.target_width == bound.width || Metric<T>(all_metrics.back().back()).needs_values(),
              "a metric does not go with a loss of several values per target");
      }
    }
    parse_parameters(parameters, graph, *config);
    config->slots.resize(graph.params.size());
    if (!optimizer.is_none()) {
      config->has_optimizer = true;
      config->optimizer = parse_optimizer(py::dict(optimizer));
      bind_slots(*config, graph);
      if (parameters.contains("kfac")) config->preconditioner = parse_kfac<T>(py::dict(parameters["kfac"]));
    }
    trainer_ = std::make_unique<Trainer<T>>(net_->graph(), std::move(config), std::move(all_metrics), std::move(steps),
                                            std::move(draws));
  }
  ~PyTrainer() override {
    if (deserted()) static_cast<void>(trainer_.release());  // nothing in it can be relied on
  }
  PyTrainer(const PyTrainer&) = delete;
  PyTrainer& operator=(const PyTrainer&) = delete;

  // In a forked child: a thread of the parent process was in the middle of a step.
  bool deserted() const { return gate_.deserted(); }

  // largest: by input, no |x| is above it; empty where nobody has looked.
  void set_data(const std::vector<py::array>& xs, const py::list& ys, const py::list& weights,
                const std::vector<double>& largest) {
    BatchSource<T> source;
    source.xs = net_->readers(xs, &source.n);
    source.largest = net_->largest(largest);
    const auto& losses = trainer_->losses();
    check(ys.size() == losses.size() && weights.size() == losses.size(), "one target and one weight entry per output");
    std::vector<py::array> keep = xs;
    for (std::size_t k = 0; k < losses.size(); ++k) {
      const py::tuple pair(ys[k]);
      keep.push_back(pair[0].cast<py::array>());
      rows_in_python(k, keep.back());
      source.ys.push_back(target(keep.back(), pair[1].cast<bool>(), losses[k], source.n));
      for (const Metric<T>& metric : trainer_->metrics()[k]) {
        check(source.ys.back().label == nullptr || !metric.needs_dense_target(), "a metric does not take class labels");
      }
      source.weights.emplace_back();
      source.valid.emplace_back();
      py::object weight = weights[k];
      if (py::isinstance<py::tuple>(weight)) {  // (weights, which steps count, how many of each sample)
        const py::tuple parts(weight);
        for (int i : {1, 2}) keep.push_back(parts[static_cast<std::size_t>(i)].cast<py::array>());
        source.valid.back() = valid(keep[keep.size() - 2], keep.back(), losses[k], source.n);
        weight = parts[0];
      }
      if (weight.is_none()) continue;
      keep.push_back(weight.template cast<py::array>());
      source.weights.back() = RowReader<T>(view_of(keep.back(), "sample_weight"));
      check_weights(k, keep.back(), source.n);
    }
    trainer_->set_data(std::move(source));
    held_data_.clear();
    for (const py::array& array : keep) held_data_.push_back(holding(array));
    keep_data_ = std::move(keep);
  }

  // Row numbers of targets that only code of the user's looks at: an array with a method of its own
  // (data/free_targets.py).
  void rows_in_python(std::size_t k, const py::array& y) {
    const bool plain = reinterpret_cast<PyObject*>(Py_TYPE(y.ptr())) == array_type();
    const py::object take = plain ? py::object() : y.attr("take_rows");
    const auto tell = [&](auto* user) {
      if (auto* code = dynamic_cast<UserTargets*>(user); code != nullptr) code->take_rows = take;
    };
    tell(trainer_->losses()[k].config.whole.get());
    for (const Metric<T>& metric : trainer_->metrics()[k]) tell(metric.user());
  }

  // The arrays are the caller's alone again; the values of the last batch stay.
  void drop_data() {
    trainer_->drop_data();
    keep_data_.clear();
    held_data_.clear();
  }

  void start_epoch(std::int64_t batch_size, bool shuffle, std::uint64_t seed, std::uint64_t epoch,
                   std::int64_t first_batch, bool update) {
    trainer_->reset_results();
    trainer_->start_epoch(batch_size, shuffle, seed, epoch, first_batch, update);
  }

  std::int64_t run(const py::array_t<double, py::array::c_style>& rates, std::int64_t max_batches, double seconds) {
    std::int64_t done = 0;
    {
      const double* data = rates.data();
      const std::int64_t n = rates.size();
      const Alone alone(gate_);
      done = trainer_->run(data, n, max_batches, seconds);
    }
    raise_if_diverged();
    return done;
  }

  void flush(double rate) {
    trainer_->flush(rate);
    raise_if_diverged();
  }

  // An epoch of passes over stretches (bind/stretch.cpp) begins, and one of them ends.
  void reset_results() {
    trainer_->reset_results();
    trainer_->start_part(true);
  }
  void end_pass(double rate) {
    trainer_->end_pass(rate);
    raise_if_diverged();
  }

  double train_step(const std::vector<py::array>& xs, const py::list& ys, const py::list& weights, double rate,
                    bool update, bool reset, bool more, const std::vector<double>& largest) {
    const OneBatch data(*this, xs, ys, weights, largest);
    if (reset) trainer_->reset_results();
    if (more) {
      trainer_->start_part(reset);
    } else {
      trainer_->start_epoch(std::numeric_limits<std::int64_t>::max(), false, 0, 0, 0, update);
    }
    {
      const Alone alone(gate_);
      trainer_->run(&rate, 1, 1, 0.0);
    }
    raise_if_diverged();
    return trainer_->results().last_loss;
  }

  py::tuple gradients(const std::vector<py::array>& xs, const py::list& ys, const py::list& weights, bool wrt_inputs,
                      bool training) {
    const OneBatch data(*this, xs, ys, weights);
    double loss = 0;
    {
      const Alone alone(gate_);
      loss = trainer_->gradients(wrt_inputs, training);
    }
    raise_if_diverged();
    py::list params, inputs;
    const Graph<T>& graph = *net_->graph();
    TrainingStep<T>& step = trainer_->last_step();
    for (std::size_t p = 0; p < graph.params.size(); ++p) {
      if (!graph.params[p].trainable) {
        params.append(py::none());
        continue;
      }
      const Shape& shape = graph.params[p].shape;
      py::array g = new_array<T>(shape);
      step.copy_gradient(static_cast<int>(p), static_cast<T*>(g.mutable_data()));
      params.append(g);
    }
    for (std::size_t k = 0; wrt_inputs && k < graph.inputs.size(); ++k) {
      const int node = graph.inputs[k];
      const Shape shape = with_rows(trainer_->samples(), graph.shapes[static_cast<std::size_t>(node)]);
      inputs.append(gradient_or_zeros<T>(step.gradient(node), shape));
    }
    return py::make_tuple(loss, params, inputs);
  }

  // The update alone, from gradients by parameter; None for those that are not trained. None, or what is not finite:
  // the number of a gradient, or the name of a parameter whose penalty it is. Then nothing is changed.
  // then: called as soon as the update is made; no signal's handler comes between.
  py::object apply(const py::list& gradients, double rate, const py::object& then) {
    const Graph<T>& graph = *net_->graph();
    const std::vector<T*> found = gradients_of(graph, gradients);
    for (std::size_t p = 0; p < found.size(); ++p) {
      if (found[p] != nullptr && !kernels<T>().all_finite(found[p], size_of(graph.params[p].shape))) return py::int_(p);
    }
    const std::vector<const T*> from(found.begin(), found.end());
    bool done = false;
    {
      const Alone alone(gate_);
      done = trainer_->apply(from, rate);
    }
    if (!done) return py::str(trainer_->flaw_of_penalties());
    raise_if_diverged();
    if (!then.is_none()) then();
    return py::none();
  }

  py::dict profile(const std::vector<py::array>& xs, const py::list& ys, const py::list& weights) {
    const OneBatch data(*this, xs, ys, weights);
    BatchProfile found;
    {
      const Alone alone(gate_);
      found = trainer_->profile();
    }
    py::list steps;
    for (const StepProfile& s : found.steps) {
      steps.append(py::make_tuple(s.layer, py::make_tuple(s.forward, s.backward, s.update),
                                  py::make_tuple(s.forward_flops, s.backward_flops, s.update_flops),
                                  py::make_tuple(s.forward_bytes, s.backward_bytes, s.update_bytes)));
    }
    py::dict dict;
    dict["steps"] = steps;
    dict["gather"] = found.gather;
    dict["loss"] = found.loss;
    return dict;
  }

  py::array value(int node) { return array_of(net_->node(node), false); }
  py::array delta(int node) { return array_of(net_->node(node), true); }

  py::dict results() const { return results_of(*trainer_); }

  // Everything gathered in the epoch, exactly; `set_gathered` takes it back.
  py::dict gathered() const {
    const Results<T>& r = trainer_->results();
    py::list metrics;
    for (const auto& of_output : trainer_->metrics()) {
      py::list states;
      for (const Metric<T>& metric : of_output) {
        const std::vector<double> values = metric.gathered();
        states.append(py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data()));
      }
      metrics.append(states);
    }
    py::dict dict;
    dict["loss"] = py::array_t<double>(static_cast<py::ssize_t>(r.loss.size()), r.loss.data());
    dict["terms"] = py::array_t<double>(static_cast<py::ssize_t>(r.terms.size()), r.terms.data());
    dict["penalty"] = r.penalty;
    dict["samples"] = r.samples;
    dict["last_loss"] = r.last_loss;
    dict["metrics"] = metrics;
    return dict;
  }

  void check_gathered(const py::dict& dict, std::int64_t samples) const {
    const Gathered<T> state(dict);
    trainer_->check_results(state.results, state.metrics, samples);
  }

  void set_gathered(const py::dict& dict, std::int64_t samples) {
    Gathered<T> state(dict);
    trainer_->set_results(std::move(state.results), state.metrics, samples);
  }

  // (samples, numbers) that the op of a node keeps between forward and accumulate.
  py::array saved(int node) {
    std::int64_t size = 0;
    const T* const from = trainer_->last_step().saved(net_->node(node), &size);
    check(from != nullptr, "the node keeps nothing");
    return py::array_t<T>({static_cast<py::ssize_t>(trainer_->samples()), static_cast<py::ssize_t>(size)}, from);
  }

  void take_results(const PyTrainer& other) { trainer_->take_results(*other.trainer_); }

  Trainer<T>& core() override { return *trainer_; }
  Gate& gate() override { return gate_; }

 private:
  struct OneBatch {  // the data of one call
    OneBatch(PyTrainer& trainer, const std::vector<py::array>& xs, const py::list& ys, const py::list& weights,
             const std::vector<double>& largest = {})
        : trainer(trainer) {
      trainer.set_data(xs, ys, weights, largest);
    }
    ~OneBatch() { trainer.drop_data(); }
    PyTrainer& trainer;
  };

  Target<T> target(const py::array& y, bool labels, const BoundLoss<T>& loss, std::int64_t n) const {
    Target<T> target;
    if (y.ndim() < 1 || y.shape(0) != n) {
      throw BadInput("y: got " + to_string(shape_of(y)) + ", expected " + std::to_string(n) + " samples");
    }
    if (!labels) {
      target.dense = RowReader<T>(view_of(y, "y"));
      const std::int64_t expected = loss.positions * loss.target_width;
      if (target.dense.row_size() != expected) {
        throw BadInput("y: got " + to_string(shape_of(y)) + ", expected rows of " + std::to_string(expected));
      }
      return target;
    }
    const Loss kind = loss.config.kind;
    check(kind == Loss::kCrossEntropy || kind == Loss::kCrossEntropyLogits || loss.config.whole != nullptr,
          "class labels go with cross_entropy");
    check(y.dtype().equal(py::dtype::of<std::int32_t>()) && (y.flags() & py::array::c_style) != 0 &&
              is_aligned<std::int32_t>(y) && y.size() == n * loss.positions,
          "labels: expected an aligned C-contiguous int32 array of one label per prediction");
    target.label = static_cast<const std::int32_t*>(y.data());
    return target;
  }

  Valid<T> valid(const py::array& mask, const py::array& count, const BoundLoss<T>& loss, std::int64_t n) const {
    Valid<T> valid;
    valid.mask = RowReader<T>(view_of(mask, "mask"));
    check(mask.ndim() == 2 && mask.shape(0) == n && mask.shape(1) > 0 && mask.shape(1) == loss.config.steps,
          "mask: got " + to_string(shape_of(mask)) + ", expected the steps of " + std::to_string(n) + " samples");
    check(count.dtype().equal(py::dtype::of<std::int64_t>()) && (count.flags() & py::array::c_style) != 0 &&
              is_aligned<std::int64_t>(count) && count.size() == n,
          "steps that count: expected an aligned C-contiguous int64 array of one number for each sample");
    valid.count = static_cast<const std::int64_t*>(count.data());
    return valid;
  }

  // One weight for a sample, or for each of its positions, rows or values.
  void check_weights(std::size_t k, const py::array& weights, std::int64_t n) const {
    const BoundLoss<T>& loss = trainer_->losses()[k];
    const Graph<T>& graph = *net_->graph();
    Shape expected = with_rows(n, graph.shapes[static_cast<std::size_t>(loss.output)]);
    if (loss.target_width != loss.width) expected.back() = loss.target_width;
    const Shape shape = shape_of(weights);
    check(!shape.empty() && shape.size() <= expected.size() && std::equal(shape.begin(), shape.end(), expected.begin()),
          "sample_weight: got " + to_string(shape) + ", expected leading axes of " + to_string(expected));
    if (shape.size() < expected.size() || expected.size() == 1 || expected.back() == 1) return;
    check(loss.weighs_values(), "sample_weight: the loss takes one weight for a row");
    for (const Metric<T>& metric : trainer_->metrics()[k]) {
      check(!metric.weighted() || metric.weighs_values(), "sample_weight: a metric takes one weight for a row");
    }
  }

  void bind_slots(StepConfig<T>& config, const Graph<T>& graph) const {
    check(keep_slots_.size() == graph.params.size(), "slots: one list per parameter");
    const auto wanted = static_cast<std::size_t>(slot_count(config.optimizer));
    for (std::size_t p = 0; p < graph.params.size(); ++p) {
      if (!graph.params[p].trainable) continue;
      check(keep_slots_[p].size() == wanted, graph.params[p].name + ": a wrong number of optimizer slots");
      for (const py::array& slot : keep_slots_[p]) {
        check(shape_of(slot) == graph.params[p].shape, graph.params[p].name + ": an optimizer slot of a wrong shape");
        config.slots[p].push_back(writable_data<T>(slot, graph.params[p].name + ": slot"));
      }
    }
  }

  py::array array_of(int node, bool gradient) {
    TrainingStep<T>& step = trainer_->last_step();
    const T* data = gradient ? step.gradient(node) : step.value(node);
    const Shape& shape = net_->graph()->shapes[static_cast<std::size_t>(node)];
    check(data != nullptr, "this value was not kept: it was fused away, or no gradient flows there");
    py::array array = copy_out(data, with_rows(trainer_->samples(), shape));
    if (!gradient) add_offset(node, static_cast<T*>(array.mutable_data()), array.size());
    return array;
  }

  // What an input was read without.
  void add_offset(int node, T* x, py::ssize_t size) const {
    const Graph<T>& graph = *net_->graph();
    while (graph.has_role(node, Role::kAlias)) node = graph.nodes[static_cast<std::size_t>(node)].inputs[0];
    const auto input = std::find(graph.inputs.begin(), graph.inputs.end(), node);
    if (input == graph.inputs.end()) return;
    const std::vector<Offset> offset = net_->offset(static_cast<std::size_t>(input - graph.inputs.begin()));
    for (py::ssize_t i = 0; !offset.empty() && i < size; ++i) {
      x[i] = static_cast<T>(static_cast<double>(x[i]) + offset[static_cast<std::size_t>(i) % offset.size()].value);
    }
  }

  void raise_if_diverged() const {
    if (trainer_->diverged() != nullptr) raise_diverged(*trainer_->diverged());
  }

  std::shared_ptr<Network<T>> net_;
  std::vector<std::vector<py::array>> keep_slots_;
  std::vector<py::array> keep_data_;
  std::vector<py::weakref> held_data_;
  std::unique_ptr<Trainer<T>> trainer_;
  Gate gate_;
};

template <class T> void bind(py::module_& m, const char* name) {
  using P = PyTrainer<T>;
  py::class_<TrainerHandle<T>>(m, (std::string(name) + "Handle").c_str());
  py::class_<P, TrainerHandle<T>>(m, name)
      .def("set_data", &P::set_data, py::arg("xs"), py::arg("ys"), py::arg("weights"),
           py::arg("largest") = std::vector<double>{})
      .def("drop_data", &P::drop_data)
      .def("states", [](P& trainer) { return states_of(trainer.core().states()); })
      .def("saved", &P::saved, py::arg("node"))
      .def(
          "set_states",
          [](P& trainer, const StateArrays<T>& states) { trainer.core().set_states(states_from<T>(states)); },
          py::arg("states"))
      .def(
          "reset_states", [](P& trainer, bool stateful_too) { trainer.core().reset_states(stateful_too); },
          py::arg("stateful_too") = true)
      .def("take_results", &P::take_results, py::arg("other"))
      .def(
          "take_waiting", [](P& trainer, P& other) { trainer.core().take_waiting(other.core()); }, py::arg("other"))
      .def("reset_results", &P::reset_results)
      .def("end_pass", &P::end_pass, py::arg("learning_rate"))
      .def("start_epoch", &P::start_epoch, py::arg("batch_size"), py::kw_only(), py::arg("shuffle") = false,
           py::arg("seed") = 0, py::arg("epoch") = 0, py::arg("first_batch") = 0, py::arg("update") = true)
      .def("run", &P::run, py::arg("learning_rates"), py::arg("max_batches") = -1, py::arg("seconds") = 0.05)
      .def("train_step", &P::train_step, py::arg("xs"), py::arg("ys"), py::arg("weights"), py::arg("learning_rate"),
           py::arg("update") = true, py::arg("reset") = true, py::arg("more") = false,
           py::arg("largest") = std::vector<double>{})
      .def("flush", &P::flush, py::arg("learning_rate"))
      .def("gradients", &P::gradients, py::arg("xs"), py::arg("ys"), py::arg("weights"), py::arg("wrt_inputs") = false,
           py::arg("training") = true)
      .def("apply", &P::apply, py::arg("gradients"), py::arg("learning_rate"), py::arg("then") = py::none())
      .def("profile", &P::profile, py::arg("xs"), py::arg("ys"), py::arg("weights"))
      .def("value", &P::value, py::arg("node"))
      .def("delta", &P::delta, py::arg("node"))
      .def("results", &P::results)
      .def("gathered", &P::gathered)
      .def(
          "gathered_sizes", [](P& p, std::int64_t samples) { return p.core().gathered_sizes(samples); },
          py::arg("samples") = -1)
      .def("check_gathered", &P::check_gathered, py::arg("state"), py::arg("samples") = -1)
      .def("set_gathered", &P::set_gathered, py::arg("state"), py::arg("samples") = -1)
      .def("describe", [](P& p) { return p.core().describe(); })
      .def_property_readonly("batch", [](P& p) { return p.core().batch(); })
      .def_property_readonly("pending", [](P& p) { return p.core().pending(); })
      .def_property_readonly("n_batches", [](P& p) { return p.core().n_batches(); })
      .def_property_readonly("deserted", &P::deserted)
      .def_property_readonly("arena_bytes", [](P& p) { return p.core().arena_bytes(); });
}

template <class T>
py::object make(const py::object& net, const py::list& losses, const std::vector<double>& loss_weights,
                const py::list& metrics, const py::object& optimizer, const std::vector<std::vector<py::array>>& slots,
                double clip_norm, double clip_value, int accumulate_steps, bool fuse, const py::dict& parameters,
                std::shared_ptr<Counter> steps, std::shared_ptr<Counter> draws) {
  return py::cast(
      new PyTrainer<T>(net.cast<std::shared_ptr<Network<T>>>(), losses, loss_weights, metrics, optimizer, slots,
                       clip_norm, clip_value, accumulate_steps, fuse, parameters, std::move(steps), std::move(draws)),
      py::return_value_policy::take_ownership);
}

}  // namespace

void bind_trainer(py::module_& m) {
  bind<float>(m, "TrainerFloat32");
  bind<double>(m, "TrainerFloat64");
  m.def(
      "Trainer",
      [](const py::object& net, const py::list& losses, const std::vector<double>& loss_weights,
         const py::list& metrics, const py::object& optimizer, const std::vector<std::vector<py::array>>& slots,
         double clip_norm, double clip_value, int accumulate_steps, bool fuse, const py::dict& parameters,
         std::optional<std::shared_ptr<Counter>> steps, std::optional<std::shared_ptr<Counter>> draws) {
        const auto maker = py::isinstance<Network<float>>(net) ? make<float> : make<double>;
        return maker(net, losses, loss_weights, metrics, optimizer, slots, clip_norm, clip_value, accumulate_steps,
                     fuse, parameters, steps.value_or(std::make_shared<Counter>()),
                     draws.value_or(std::make_shared<Counter>()));
      },
      py::arg("net"), py::arg("losses"), py::arg("loss_weights"), py::arg("metrics"), py::arg("optimizer"),
      py::arg("slots"), py::kw_only(), py::arg("clip_norm") = 0.0, py::arg("clip_value") = 0.0,
      py::arg("accumulate_steps") = 1, py::arg("fuse") = true, py::arg("parameters") = py::dict(),
      py::arg("steps") = py::none(), py::arg("draws") = py::none());
}

}  // namespace bp
