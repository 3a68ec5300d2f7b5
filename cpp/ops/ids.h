// Whole numbers in arrays of T, as their bits: float32 could not tell ids above 2^24 apart. An input that is marked as
// ids is gathered so, and only ops that read ids may use it.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace bp {

template <class T> using Id = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T> std::int64_t id_at(const T* x) {
  Id<T> id;
  std::memcpy(&id, x, sizeof(T));
  return id;
}

template <class T> void set_id(std::int64_t value, T* x) {
  const Id<T> id = static_cast<Id<T>>(value);
  std::memcpy(static_cast<void*>(x), &id, sizeof(T));
}

}  // namespace bp
