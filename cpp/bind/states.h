// What a trainer carries from batch to batch, in Python's hands.
#pragma once

#include <map>

#include "bind/array.h"
#include "train/states.h"

namespace bp {

inline Carries carries_of(const std::string& what) {
  if (what.empty()) return Carries::kNothing;
  check(what == "stateful" || what == "windows", "carries: got '" + what + "', expected 'stateful' or 'windows'");
  return what == "windows" ? Carries::kAll : Carries::kStateful;
}

// By key, (rows, numbers); none where the next batch begins with zeros.
template <class T> py::dict states_of(const std::vector<State<T>>& states) {
  py::dict all;
  for (const State<T>& of : states) {
    const auto rows = static_cast<py::ssize_t>(of.rows), size = static_cast<py::ssize_t>(of.values.size());
    all[py::str(of.key)] = py::array_t<T>({rows, size / rows}, of.values.data());
  }
  return all;
}

template <class T> using StateArrays = std::map<std::string, py::array_t<T, py::array::c_style | py::array::forcecast>>;

template <class T> std::vector<State<T>> states_from(const StateArrays<T>& states) {
  std::vector<State<T>> given;
  for (const auto& [key, array] : states) {
    check(array.ndim() == 2 && array.shape(0) > 0, "states: expected arrays (rows, numbers)");
    given.push_back({key, array.shape(0), {array.data(), array.data() + array.size()}});
  }
  return given;
}

}  // namespace bp
