// Layers, losses and metrics that the user wrote in Python, behind the core's plain interfaces.
//
// The arrays they get are copies: a layer may keep its input for backward, and the arena may move.
#pragma once

#include "bind/array.h"
#include "bind/gil.h"
#include "ops/op.h"
#include "train/loss.h"
#include "train/steps.h"

namespace bp {

// The callable runs with the GIL and under the caller's exceptions; what it raises ends the step before any update.
template <class T> class PythonLayer final : public UserLayer<T> {
 public:
  // node: forward(xs, training) -> y, backward(dy) -> [dx], shape (of a sample of y), grads (an array for each
  // parameter).
  PythonLayer(const py::handle& node, std::string name)
      : forward_(node.attr("forward")), backward_(node.attr("backward")), name_(std::move(name)),
        shape_(node.attr("shape").cast<Shape>()) {
    for (py::handle grad : py::list(node.attr("grads"))) {
      grads_.push_back(py::reinterpret_borrow<py::array>(grad));
      grad_data_.push_back(writable_data<T>(grads_.back(), name_ + ": gradient"));
    }
  }

  void forward(const std::vector<const T*>& x, const std::vector<Shape>& x_shapes, std::int64_t n, bool training,
               T* y) override {
    GilAcquire gil;
    py::list xs;
    for (std::size_t i = 0; i < x.size(); ++i) xs.append(copy_out(x[i], with_rows(n, x_shapes[i])));
    copy_in(call_python(forward_, xs, training), with_rows(n, shape_), y, "forward");
  }

  void backward(const T* dy, const std::vector<Shape>& x_shapes, std::int64_t n, const std::vector<T*>& dx) override {
    GilAcquire gil;
    const py::list all(call_python(backward_, copy_out(dy, with_rows(n, shape_))));
    if (all.size() != dx.size()) throw py::value_error(name_ + ": backward returned a wrong number of gradients");
    for (std::size_t i = 0; i < dx.size(); ++i) {
      if (dx[i] != nullptr) copy_in(all[i], with_rows(n, x_shapes[i]), dx[i], "backward");
    }
  }

  const T* grad(int param) const override { return grad_data_[static_cast<std::size_t>(param)]; }

 private:
  void copy_in(const py::object& result, const Shape& shape, T* to, const char* method) const {
    const auto array = py::array_t<T, py::array::c_style>::ensure(result);
    if (!array || shape_of(array) != shape) {
      throw py::value_error(name_ + ": " + method + " returned a wrong shape, expected " + to_string(shape));
    }
    std::memcpy(to, array.data(), static_cast<std::size_t>(array.nbytes()));
  }

  py::object forward_, backward_;
  std::string name_;
  Shape shape_;
  std::vector<py::array> grads_;
  std::vector<const T*> grad_data_;
};

// What gives the rows of targets that the core does not look at, whose labels then are the numbers of these rows.
struct UserTargets {
  virtual ~UserTargets() = default;
  py::object take_rows;
};

// (y_true, y_pred, weight or None) as arrays.
template <class T>
py::tuple batch_arrays(const OutputBatch<T>& batch, const Shape& sample, const py::object& take_rows) {
  const Shape shape = with_rows(batch.n, sample);
  Shape label_shape = shape;
  if (label_shape.size() > 1) label_shape.pop_back();
  Shape target_shape = shape;
  if (batch.target_width != batch.width) target_shape.back() = batch.target_width;
  py::object truth;
  if (take_rows) {
    truth = call_python(take_rows, copy_out(batch.label, {batch.n}));
  } else {
    truth = batch.label != nullptr ? py::object(copy_out(batch.label, label_shape))
                                   : py::object(copy_out(batch.target, target_shape));
  }
  const Shape weight_shape(target_shape.begin(), target_shape.begin() + 1 + batch.weight_axes);
  py::object weight =
      batch.weight != nullptr ? py::object(copy_out(batch.weight, weight_shape)) : py::object(py::none());
  return py::make_tuple(truth, copy_out(batch.prediction, shape), weight);
}

template <class T> class PythonLoss final : public BatchLoss<T>, public UserTargets {
 public:
  PythonLoss(py::object call, Shape sample) : call_(std::move(call)), sample_(std::move(sample)) {}

  std::string name() const override { return "a loss in Python"; }
  void run(const OutputBatch<T>& all, const typename BatchLoss<T>::Look&, T* row_loss, T* delta) override {
    GilAcquire gil;
    const ValidRows<T> valid(all);
    const OutputBatch<T>& batch = valid.batch();
    const std::int64_t rows_in_all = all.n * std::max<std::int64_t>(all.steps, 1);
    const py::tuple result(call_python_with(call_, batch_arrays(batch, sample_, take_rows)));
    const auto rows = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(result[0]);
    const auto gradient = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(result[1]);
    if (!rows || rows.size() != batch.n) throw py::value_error("the loss returned a wrong number of row losses");
    if (!gradient || shape_of(gradient) != with_rows(batch.n, sample_)) {
      throw py::value_error("the loss's gradient has a wrong shape, expected " +
                            to_string(with_rows(batch.n, sample_)));
    }
    valid.put(rows.data(), 1, rows_in_all, row_loss);
    if (delta != nullptr) valid.put(gradient.data(), size_of(sample_), rows_in_all, delta);
  }

 private:
  py::object call_;
  Shape sample_;
};

template <class T> class PythonMetric final : public UserMetric<T>, public UserTargets {
 public:
  PythonMetric(py::object call, Shape sample) : call_(std::move(call)), sample_(std::move(sample)) {}
  void add(const OutputBatch<T>& batch) override {
    GilAcquire gil;
    call_python_with(call_, batch_arrays(batch, sample_, take_rows));
  }

 private:
  py::object call_;
  Shape sample_;
};

}  // namespace bp
