// What the graph says of a node, and how an operation is made from it.
//
// An attribute has a name and one of six kinds; the maker of an op reads those that it knows, and a node with a further
// one is refused. So an op may be told whatever it needs without a field here or a line in bind/.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/buffer.h"
#include "kernels/table.h"

namespace bp {

template <class T> class Op;
template <class T> struct UserLayer;
template <class T> using OpPtr = std::unique_ptr<Op<T>>;
using Shapes = std::vector<Shape>;

struct Array {  // of the caller's numbers, in C order
  Shape shape;
  std::vector<double> values;
};

template <class T>
using Attribute = std::variant<std::int64_t, double, std::string, Shape, Array, std::shared_ptr<UserLayer<T>>>;

template <class T> struct NodeSpec {
  std::string op, name;
  std::vector<int> inputs, params;
  std::map<std::string, Attribute<T>> attributes;
  Compute compute = Compute::kFull;  // what the operands of matrix products are rounded to, in the whole graph
};

// A node as the maker of its op sees it: shapes of a sample of each input and of the parameters, and the attributes.
// Those of another kind, and missing ones that have no fallback, are BadInput.
template <class T> class Node {
 public:
  Node(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws)
      : op(spec.op), name(spec.name), xs(xs), ws(ws), compute(spec.compute), attributes_(spec.attributes) {}

  bool has(const char* key) const { return attributes_.count(key) > 0; }
  std::int64_t integer(const char* key) const;
  std::int64_t integer(const char* key, std::int64_t fallback) const { return has(key) ? integer(key) : fallback; }
  bool flag(const char* key) const { return integer(key, 0) != 0; }
  std::uint64_t seed() const { return static_cast<std::uint64_t>(integer("seed")); }
  double number(const char* key) const;
  double number(const char* key, double fallback) const { return has(key) ? number(key) : fallback; }
  std::string text(const char* key) const;
  std::string text(const char* key, const char* fallback) const { return has(key) ? text(key) : fallback; }
  Shape integers(const char* key) const;
  const Array& array(const char* key) const;
  std::shared_ptr<UserLayer<T>> user_layer(const char* key) const;
  // The operation that the attribute names, of these inputs and the node's parameters, told what nobody has read yet.
  OpPtr<T> other(const char* key, const Shapes& inputs) const;

  void expect(bool condition, const std::string& otherwise) const { check(condition, name + ": " + otherwise); }
  void refuse_unread() const;

  const std::string &op, &name;
  const Shapes &xs, &ws;
  const Compute compute;

 private:
  template <class Kind> const Kind* find(const char* key) const;  // null: it is of another kind
  [[noreturn]] void wrong_kind(const char* key, const char* expected) const;

  const std::map<std::string, Attribute<T>>& attributes_;
  mutable std::set<std::string> read_;
};

// By the row of ops/table.cpp; BadInput when shapes or attributes do not fit.
template <class T> OpPtr<T> make_op(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws);

// An op that takes any number of inputs but computes with two, as a chain of pairs from left to right; any other as it
// is. In `inputs` -1 stands for the node before in the list, -2 for the one before that.
template <class T> std::vector<NodeSpec<T>> in_pairs(NodeSpec<T> spec);

std::string to_string(const Shape& shape);

#define BP_INSTANTIATE_MAKER(make)                     \
  template OpPtr<float> make(const Node<float>& node); \
  template OpPtr<double> make(const Node<double>& node);

}  // namespace bp
