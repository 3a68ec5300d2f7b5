#include "plan/graph.h"

namespace bp {

template <class T>
Graph<T>::Graph(std::vector<NodeSpec<T>> specs, const std::vector<int>& wanted_outputs,
                std::vector<ParameterView<T>> parameters)
    : params(std::move(parameters)) {
  for (const ParameterView<T>& param : params) {
    if (param.back < 0) continue;
    const bool there = static_cast<std::size_t>(param.back) < params.size();
    check(there && params[static_cast<std::size_t>(param.back)].shape == param.shape,
          param.name + ": what backward reads in its place has another shape");
  }
  for (NodeSpec<T>& spec : specs) {
    for (int& input : spec.inputs) {
      check(input >= 0 && static_cast<std::size_t>(input) < node_of.size(),
            spec.name + ": an input comes after the node that uses it");
      input = node_of[static_cast<std::size_t>(input)];
    }
    for (int param : spec.params) {
      check(param >= 0 && static_cast<std::size_t>(param) < params.size(), spec.name + ": no such parameter");
    }
    int value = spec.inputs.empty() ? -1 : spec.inputs[0];  // of a chain of one: its input
    for (NodeSpec<T>& link : in_pairs(std::move(spec))) {
      for (int& input : link.inputs) input += input < 0 ? static_cast<int>(nodes.size()) : 0;
      value = append(std::move(link));
    }
    node_of.push_back(value);
  }
  for (int output : wanted_outputs) {
    check(output >= 0 && static_cast<std::size_t>(output) < node_of.size(), "an output names no node");
    outputs.push_back(node_of[static_cast<std::size_t>(output)]);
  }
}

template <class T> int Graph<T>::append(NodeSpec<T> spec) {
  nodes.push_back(std::move(spec));
  const int node = static_cast<int>(nodes.size()) - 1;
  const OpPtr<T> op = make(node);
  const bool view = op->facts().role == Role::kAlias;
  for (int input : nodes.back().inputs) {
    const bool ids = facts[static_cast<std::size_t>(input)].ids;
    check(
        view || ids == op->facts().takes_ids,
        nodes.back().name + (ids ? ": takes numbers, and its input holds ids, which go to an Embedding alone; give the "
                                   "model a second input with the same data"
                                 : ": takes ids, which only an input of the model can hold"));
  }
  shapes.push_back(op->sizes().shape);
  facts.push_back(op->facts());
  if (view) facts.back().ids = facts[static_cast<std::size_t>(nodes.back().inputs[0])].ids;
  if (has_role(node, Role::kInput)) inputs.push_back(node);
  size_of(shapes.back());  // throws when it overflows
  return node;
}

template <class T> OpPtr<T> Graph<T>::make(int node) const {
  const NodeSpec<T>& spec = nodes[static_cast<std::size_t>(node)];
  std::vector<Shape> xs, ws;
  for (int input : spec.inputs) xs.push_back(shapes[static_cast<std::size_t>(input)]);
  for (int param : spec.params) ws.push_back(params[static_cast<std::size_t>(param)].shape);
  return make_op(spec, xs, ws);
}

template <class T> void Graph<T>::note_change() const {
  for (const ParameterView<T>& param : params) {
    if (param.changes != nullptr) param.changes->add(1);
  }
}

template <class T> std::int64_t Graph<T>::changes() const {
  std::int64_t total = 0;
  for (const ParameterView<T>& param : params) total += param.changes == nullptr ? 0 : param.changes->get();
  return total;
}

template struct Graph<float>;
template struct Graph<double>;

}  // namespace bp
