// Network: a compiled graph in Python's hands.
#pragma once

#include <tuple>

#include "bind/array.h"
#include "plan/inference.h"

namespace bp {

template <class T> class Network {
 public:
  Network(const py::list& nodes, const std::vector<int>& outputs, const std::vector<py::array>& params,
          const std::vector<std::string>& names, const std::vector<bool>& trainable, const std::string& compute,
          const std::vector<std::tuple<int, int, int, py::array>>& shifts,
          const std::vector<std::shared_ptr<Counter>>& changes, const std::vector<int>& backs);

  const std::shared_ptr<const Graph<T>>& graph() const { return graph_; }
  int node(int users) const;  // the caller's number -> the graph's
  const Shape& shape(int users) const { return graph_->shapes[static_cast<std::size_t>(node(users))]; }
  std::int64_t flops() const { return inference_->plan().flops(); }
  std::string describe() const { return inference_->plan().describe(); }
  std::map<std::string, std::string> rounded() const;  // by name: the instruction of products in bfloat16
  // What ops carry from batch to batch (train/trainer.h): by key how many numbers a sample, and whether it is stateful.
  py::dict carried() const;

  // What is subtracted from the values of input k as they are read, by their last axis; empty: nothing.
  std::vector<Offset> offset(std::size_t k) const;
  // The greatest magnitudes of the data, as they are read, from those of what the caller has; `most` may be empty.
  std::vector<double> largest(std::vector<double> most) const;
  // x (n, ...) as a reader of n rows of input k's size; ValueError when it does not fit.
  RowReader<T> reader(const py::array& x, std::size_t k, std::int64_t n) const;
  std::vector<RowReader<T>> readers(const std::vector<py::array>& xs, std::int64_t* n) const;
  py::list forward(const std::vector<py::array>& xs, bool training, const py::object& outs, std::uint64_t draw,
                   bool commit);
  // The shortest way: few rows of T as the network wants them, one input, one output. Null for anything else, whatever
  // it is: the caller then takes the long way, which also finds the words for what is wrong.
  PyObject* call(PyObject* x, PyObject* out, bool check_finite);

 private:
  // The mean that an input comes without and its variance, as parameters, and what the mean was rounded from.
  struct Shift {
    int mean = -1, variance = -1;
    const double* exact = nullptr;
  };
  bool free_of_weights(const T* y, std::int64_t size) const;

  std::vector<py::array> keep_;
  std::vector<Shift> shifts_;  // by input
  bool simple_;                // one input, one output, nothing that needs the whole batch
  std::shared_ptr<const Graph<T>> graph_;
  std::unique_ptr<Inference<T>> inference_;
};

void bind_network(py::module_& m);

}  // namespace bp
