#include "plan/graph.h"

namespace bp {
namespace {

bool is_merge(const std::string& op) { return op == "add" || op == "multiply" || op == "maximum" || op == "average"; }

}  // namespace

template <class T>
Graph<T>::Graph(std::vector<NodeSpec<T>> specs, const std::vector<int>& wanted_outputs,
                std::vector<ParameterView<T>> parameters)
    : params(std::move(parameters)) {
  for (NodeSpec<T>& spec : specs) {
    for (int& input : spec.inputs) {
      check(input >= 0 && static_cast<std::size_t>(input) < node_of.size(),
            spec.name + ": an input comes after the node that uses it");
      input = node_of[static_cast<std::size_t>(input)];
    }
    for (int param : spec.params) {
      check(param >= 0 && static_cast<std::size_t>(param) < params.size(), spec.name + ": no such parameter");
    }
    const std::vector<int> operands = spec.inputs;
    const bool average = spec.op == "average";
    if (!is_merge(spec.op) || (operands.size() == 2 && !average)) {
      node_of.push_back(append(std::move(spec)));
      continue;
    }
    check(!operands.empty(), spec.name + ": a merge needs an input");
    const std::string op = average ? "add" : spec.op;
    int chain = operands[0];
    for (std::size_t i = 1; i < operands.size(); ++i) {
      NodeSpec<T> link{};
      link.op = op, link.name = spec.name, link.inputs = {chain, operands[i]};
      chain = append(std::move(link));
    }
    if (average) {
      NodeSpec<T> share{}, product{};
      share.op = "constant", share.name = spec.name, share.constant = {T(1) / static_cast<T>(operands.size())};
      product.op = "multiply", product.name = spec.name, product.inputs = {chain, append(std::move(share))};
      chain = append(std::move(product));
    }
    node_of.push_back(chain);
  }
  for (int output : wanted_outputs) {
    check(output >= 0 && static_cast<std::size_t>(output) < node_of.size(), "an output names no node");
    outputs.push_back(node_of[static_cast<std::size_t>(output)]);
  }
}

template <class T> int Graph<T>::append(NodeSpec<T> spec) {
  nodes.push_back(std::move(spec));
  const int node = static_cast<int>(nodes.size()) - 1;
  if (nodes.back().op == "input") inputs.push_back(node);
  shapes.push_back(make(node)->shape);
  size_of(shapes.back());  // throws when it overflows
  return node;
}

template <class T> std::unique_ptr<Op<T>> Graph<T>::make(int node) const {
  const NodeSpec<T>& spec = nodes[static_cast<std::size_t>(node)];
  std::vector<Shape> xs, ws;
  for (int input : spec.inputs) xs.push_back(shapes[static_cast<std::size_t>(input)]);
  for (int param : spec.params) ws.push_back(params[static_cast<std::size_t>(param)].shape);
  return make_op(spec, xs, ws);
}

template struct Graph<float>;
template struct Graph<double>;

}  // namespace bp
