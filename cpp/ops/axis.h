// One axis of a sample's array and those around it: (outer, k, inner).
#pragma once

#include "ops/op.h"

namespace bp {

struct Axis {
  Axis(const Shape& x, std::size_t axis) : k(x[axis]) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i != axis) (i < axis ? outer : inner) *= x[i];
    }
  }
  std::int64_t rows() const { return outer * inner; }
  std::int64_t size() const { return outer * k * inner; }
  std::int64_t outer = 1, k, inner = 1;
};

// Of the only input of a node, as its attribute says.
template <class T> std::size_t read_axis(const Node<T>& node) {
  node.expect(node.xs.size() == 1, node.op + " takes one input");
  const auto axis = static_cast<std::size_t>(node.integer("axis"));
  node.expect(axis < node.xs[0].size(), "no axis " + std::to_string(axis) + " in " + to_string(node.xs[0]));
  return axis;
}

}  // namespace bp
