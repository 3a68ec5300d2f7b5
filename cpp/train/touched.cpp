#include "train/touched.h"

#include <algorithm>

namespace bp {
namespace {

// Of a table of fewer tiles all rows cost no more than to find those that are touched.
constexpr std::int64_t kLeastTiles = 4;

// A row without a gradient stays as it is, to the bit.
bool needs_gradient(const OptimizerConfig& config, double decay) {
  const bool plain = config.kind == Optimizer::kSgd || (config.kind == Optimizer::kAdagrad && config.epsilon > 0);
  return plain && decay == 0;
}

// Of a parameter: whether all nodes that use it are lookups, and whether one is lazy.
struct Users {
  bool lookups = false, lazy = false;
};

template <class T> std::vector<Users> users_of(const Graph<T>& graph) {
  std::vector<Users> users(graph.params.size());
  std::vector<char> seen(graph.params.size(), 0);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::vector<int>& params = graph.nodes[i].params;
    const OpPtr<T> op = graph.facts[i].takes_ids ? graph.make(static_cast<int>(i)) : nullptr;
    const Lookup<T>* const lookup = op == nullptr ? nullptr : op->as_lookup();
    for (std::size_t slot = 0; slot < params.size(); ++slot) {
      const auto p = static_cast<std::size_t>(params[slot]);
      const bool looks = lookup != nullptr && slot == 0;
      users[p].lookups = looks && (users[p].lookups || seen[p] == 0);
      users[p].lazy |= looks && lookup->lazy();
      seen[p] = 1;
    }
  }
  return users;
}

}  // namespace

template <class T> Touched<T>::Touched(const Workspace<T>& work, const Tiles<T>& tiles) : work_(work), tiles_(tiles) {
  const StepConfig<T>& config = *work.config;
  const std::size_t params = work.graph->params.size();
  uses_.resize(params), has_.resize(params, 0), leaves_rest_.resize(params, 0);
  std::vector<std::int64_t> count(params, 0);
  for (const OwnedTile& tile : tiles.all()) ++count[at(tile.param)];
  const std::vector<Users> users = users_of(*work.graph);
  for (std::size_t p = 0; p < params; ++p) {
    if (count[p] == 0 || !users[p].lookups || (!config.penalties.empty() && config.penalties[p].any())) continue;
    if (count[p] < kLeastTiles && !users[p].lazy) continue;
    for (const ParameterUse& use : work.plan->uses(static_cast<int>(p))) uses_[p].push_back(use.step);
    const double decay =
        config.groups.empty() ? config.optimizer.weight_decay : config.groups[at(config.group_of[p])].weight_decay;
    has_[p] = 1;
    leaves_rest_[p] = users[p].lazy || needs_gradient(config.optimizer, decay);
  }
  std::int64_t rows = 0;
  for (const OwnedTile& tile : tiles.all()) {
    mark_at_.push_back(rows);
    if (has(tile.param)) rows += tile.rows.count();
  }
  dirty_.resize(at(tiles.count()), 0), marks_.resize(at(rows), 0);
}

template <class T> void Touched<T>::make_room(int threads, std::int64_t n) {
  std::int64_t most = 0;
  for (const std::vector<int>& uses : uses_) {
    std::int64_t keys = 0;
    for (int step : uses) keys += checked_mul(n, work_.step(step).op->as_lookup()->positions());
    most = std::max(most, keys);
  }
  keys_.resize(std::max(keys_.size(), at(threads)));
  for (auto& keys : keys_) keys.resize(std::max(keys.size(), at(most)));
}

template <class T> std::uint64_t Touched<T>::stride(int param, std::int64_t n) const {
  std::int64_t places = 0;
  for (int step : uses_[at(param)]) places += work_.step(step).op->as_lookup()->places(n);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(places, 1));
}

template <class T> typename Touched<T>::Keys Touched<T>::find(int param, Rows rows, std::int64_t n, int rank) {
  std::uint64_t* const begin = keys_[at(rank)].data();
  std::uint64_t* end = begin;
  const std::uint64_t step = stride(param, n);
  std::int64_t before = 0;  // places of the uses before
  for (int use : uses_[at(param)]) {
    const Lookup<T>& lookup = *work_.step(use).op->as_lookup();
    const Io<T>& io = work_.io(use);
    for (std::int64_t sample = 0; sample < n; ++sample) {
      for (std::int64_t p = 0; p < lookup.positions(); ++p) {
        const std::int64_t row = lookup.row(io, sample * lookup.positions() + p);
        if (row < rows.begin || row >= rows.end) continue;
        *end++ = static_cast<std::uint64_t>(row) * step + static_cast<std::uint64_t>(before + lookup.place(sample, p));
      }
    }
    before += lookup.places(n);
  }
  std::sort(begin, end);
  return {begin, end};
}

template <class T>
void Touched<T>::sum(int param, const Keys& of_row, std::int64_t n, Rows columns, T* g, bool add, T* scratch) const {
  const std::uint64_t step = stride(param, n);
  const std::uint64_t* key = of_row.begin;
  std::uint64_t before = 0;
  bool adds = add;
  for (int use : uses_[at(param)]) {
    const Lookup<T>& lookup = *work_.step(use).op->as_lookup();
    const std::uint64_t* const first = key;
    const std::uint64_t after = before + static_cast<std::uint64_t>(lookup.places(n));
    while (key < of_row.end && *key % step < after) ++key;
    const auto place = [&](std::int64_t i) { return static_cast<std::int64_t>(first[i] % step - before); };
    if (key > first) {
      lookup.sum_row(work_.io(use), key - first, place, columns, g, adds, scratch);
      adds = true;
    }
    before = after;
  }
}

template <class T> void Touched<T>::mark_all(std::int64_t t) {
  dirty_[at(t)] = 1;
  std::fill_n(marks(t), tiles_[t].rows.count(), char(1));
}

template <class T> void Touched<T>::mark_nonzero(std::int64_t t, const T* g) {
  const std::int64_t columns = tiles_[t].columns.count();
  dirty_[at(t)] = 0;
  for (std::int64_t row = 0; row < tiles_[t].rows.count(); ++row) {
    const T* const d = g + row * columns;
    const bool some = std::any_of(d, d + columns, [](T value) { return value != T(0); });
    marks(t)[row] = some;
    dirty_[at(t)] |= static_cast<char>(some);
  }
}

template <class T> void Touched<T>::clear(std::int64_t t, T* g) {
  if (!dirty(t)) return;
  const std::int64_t columns = tiles_[t].columns.count();
  for (std::int64_t row = 0; row < tiles_[t].rows.count(); ++row) {
    if (marks(t)[row] != 0) std::fill_n(g + row * columns, columns, T(0));
  }
  std::fill_n(marks(t), tiles_[t].rows.count(), char(0));
  dirty_[at(t)] = 0;
}

template class Touched<float>;
template class Touched<double>;

}  // namespace bp
