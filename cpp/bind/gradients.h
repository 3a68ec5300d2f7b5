// The user's gradients by parameter, where the core writes them or reads them.
#pragma once

#include "bind/network.h"
#include "bind/plain.h"

namespace bp {

// list: an array for each parameter, whatever for those that are not trained. Nothing is copied, and no text of an
// error is made before there is one.
template <class T> std::vector<T*> gradients_of(const Graph<T>& graph, const py::list& list) {
  check(list.size() == graph.params.size(), "gradients: expected one for each parameter");
  std::vector<T*> found(graph.params.size(), nullptr);
  for (std::size_t p = 0; p < found.size(); ++p) {
    const auto& param = graph.params[p];
    if (!param.trainable) continue;
    const auto array = py::reinterpret_borrow<py::array>(list[p]);
    if (!std::equal(param.shape.begin(), param.shape.end(), array.shape(), array.shape() + array.ndim())) {
      throw BadInput(param.name + ": a gradient of another shape");
    }
    const bool plain = is_plain(array.ptr()) && has_type<T>(array.ptr()) && array.writeable();
    found[p] =
        plain ? static_cast<T*>(const_cast<void*>(array.data())) : writable_data<T>(array, param.name + ": gradient");
  }
  return found;
}

}  // namespace bp
