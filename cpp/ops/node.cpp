#include "ops/node.h"

#include "ops/op.h"

namespace bp {

template <class T> template <class Kind> const Kind* Node<T>::find(const char* key) const {
  const auto found = attributes_.find(key);
  expect(found != attributes_.end(), op + " needs the attribute '" + key + "'");
  read_.insert(key);
  return std::get_if<Kind>(&found->second);
}

template <class T> void Node<T>::wrong_kind(const char* key, const char* expected) const {
  constexpr const char* kKinds[] = {"an integer", "a number", "text", "integers", "an array", "an object with methods"};
  const std::string kind = kKinds[attributes_.at(key).index()];
  throw BadInput(name + ": the attribute '" + key + "' of " + op + " is " + kind + ", expected " + expected);
}

template <class T> std::int64_t Node<T>::integer(const char* key) const {
  const auto* value = find<std::int64_t>(key);
  if (value == nullptr) wrong_kind(key, "an integer");
  return *value;
}

template <class T> double Node<T>::number(const char* key) const {
  if (const auto* whole = find<std::int64_t>(key); whole != nullptr) return static_cast<double>(*whole);
  const auto* value = find<double>(key);
  if (value == nullptr) wrong_kind(key, "a number");
  return *value;
}

template <class T> std::string Node<T>::text(const char* key) const {
  const auto* value = find<std::string>(key);
  if (value == nullptr) wrong_kind(key, "text");
  return *value;
}

template <class T> Shape Node<T>::integers(const char* key) const {
  const auto* value = find<Shape>(key);
  if (value == nullptr) wrong_kind(key, "integers");
  return *value;
}

template <class T> const Array& Node<T>::array(const char* key) const {
  const auto* value = find<Array>(key);
  if (value == nullptr) wrong_kind(key, "an array");
  return *value;
}

template <class T> std::shared_ptr<UserLayer<T>> Node<T>::user_layer(const char* key) const {
  const auto* value = find<std::shared_ptr<UserLayer<T>>>(key);
  if (value == nullptr) wrong_kind(key, "an object with methods");
  return *value;
}

template <class T> OpPtr<T> Node<T>::other(const char* key, const Shapes& inputs) const {
  NodeSpec<T> spec{text(key), name, {}, {}, {}, compute};
  for (const auto& [own, value] : attributes_) {
    if (read_.insert(own).second) spec.attributes.emplace(own, value);
  }
  return make_op(spec, inputs, ws);
}

template <class T> void Node<T>::refuse_unread() const {
  for (const auto& [key, value] : attributes_) {
    expect(read_.count(key) > 0, op + " knows no attribute '" + key + "'");
  }
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

template class Node<float>;
template class Node<double>;

}  // namespace bp
