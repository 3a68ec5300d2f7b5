// The graph as the user built it: nodes in topological order, parameters, shapes.
#pragma once

#include "base/counter.h"
#include "ops/op.h"

namespace bp {

template <class T> struct ParameterView {
  T* value;
  Shape shape;
  std::string name;
  bool trainable;
  std::shared_ptr<Counter> changes;  // how often the value was changed, or null: nobody asks
  int back = -1;                     // the parameter that backward reads in its place; -1: itself

  // Seen as a matrix (all axes but the last, the last); a vector is one row.
  std::int64_t row_size() const { return shape.empty() ? 1 : shape.back(); }
  std::int64_t rows() const { return row_size() == 0 ? 0 : size_of(shape) / row_size(); }
};

template <class T> struct Graph {
  std::vector<NodeSpec<T>> nodes;  // node i makes value i
  std::vector<Shape> shapes;       // of one sample of value i
  std::vector<Facts> facts;        // of the op that makes value i
  std::vector<int> inputs;         // the input nodes, in the order of the caller's arrays
  std::vector<int> outputs;
  std::vector<ParameterView<T>> params;
  std::vector<int> node_of;  // the caller's numbering (before merges of many inputs became chains) -> ours

  // Checks the nodes and expands merges of more than two inputs into chains, left to right.
  Graph(std::vector<NodeSpec<T>> specs, const std::vector<int>& wanted_outputs,
        std::vector<ParameterView<T>> parameters);

  OpPtr<T> make(int node) const;
  void note_change() const;      // of all parameters
  std::int64_t changes() const;  // so far, of all of them
  bool has_role(int node, Role role) const { return facts[static_cast<std::size_t>(node)].role == role; }
  std::int64_t size(int value) const { return size_of(shapes[static_cast<std::size_t>(value)]); }

 private:
  int append(NodeSpec<T> spec);
};

}  // namespace bp
