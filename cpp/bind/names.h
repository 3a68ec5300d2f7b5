// The names of an enumeration, to and from Python.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bind/array.h"

namespace bp {

inline int find_name(const std::string& name, int count, const std::function<std::string(int)>& name_of,
                     const char* what) {
  for (int i = 0; i < count; ++i) {
    if (name_of(i) == name) return i;
  }
  throw py::value_error(std::string("unknown ") + what + " '" + name + "'");
}

inline std::vector<std::string> all_names(int count, std::string (*name_at)(int)) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(name_at(i));
  return names;
}

}  // namespace bp
