// Products of windows: tiles of the matrix product whose terms lie in runs, so that a window's values need no copy.
//
// A tile is kRows x kVecs registers of C as in gemm_tile.h, one FMA chain per lane in the order of runs and steps. What
// multiplies B is one value of each row, or with lanes as many as C has columns: then each column is a product of its
// own, of the channels of a depthwise convolution.
#include "kernels/gemm_plan.h"
#include "kernels/transpose.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

enum class Terms { kApart, kTogether, kLanes };  // rows of A with a stride; neighbours; vectors with a stride

// So few rows are to have so many vectors that some 8 chains are under way.
constexpr int kMostVecs = 4;
// Rows that are reached from one pointer: + 0, s, 2 s, 3 s, 4 s; all of neighbours.
constexpr int kFew = 4;
template <Terms kTerms> constexpr int kReach = kTerms == Terms::kTogether ? kMaxTileRows : kFew;

template <class T> struct WindowTile {
  const T *a, *b, *start;
  std::int64_t start_stride;
  T* c;
  std::int64_t tail;
};

// Rows kPer g .. kPer g + kPer - 1 are a group.
template <class T, int kRows, int kVecs, Terms kTerms, int kPer, bool kEdge>
static void window_tile(const RunProduct<T>& p, const WindowTile<T>& t) {
  constexpr int kWidth = Vec<T>::kWidth, kGroups = (kRows + kPer - 1) / kPer;
  const auto load_row = [&](const T* at, Vec<T>(&row)[kVecs]) __attribute__((always_inline)) {
    if constexpr (kEdge) {
      load_edge<T, kVecs>(at, t.tail, row);
    } else {
      BP_UNROLL(8)
      for (int v = 0; v < kVecs; ++v) row[v] = load(at + v * kWidth);
    }
  };
  Vec<T> acc[kRows][kVecs];
  begin_rows(t.start, t.start_stride, t.tail, acc);
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  const std::int64_t stride = (kTerms == Terms::kTogether ? 1 : p.a_row) * kSize, stride_3 = 3 * stride;
  const std::int64_t group = p.per > 0 ? p.a_group * kSize : kPer * stride;
  const std::int64_t step = p.a_step * kSize, b_step = p.b_step;
  for (const Run *run = p.runs, *const end = run + p.count; run != end; ++run) {
    const char* row[kGroups];
    BP_UNROLL(8)
    for (int g = 0; g < kGroups; ++g) row[g] = reinterpret_cast<const char*>(t.a + run->a) + g * group;
    const T* b = t.b + run->b;
    for (std::int64_t left = run->steps; left > 0; --left) {
      Vec<T> line[kVecs];
      load_row(b, line);
      BP_UNROLL(16)
      for (int i = 0; i < kRows; ++i) {
        constexpr bool kNeighbours = kTerms == Terms::kTogether;
        const char* at = row[i / kPer] + (kNeighbours ? i % kPer * kSize : 0);
        if (!kNeighbours && i % kPer != 0) at += i % kPer == 3 ? stride_3 : i % kPer * stride;
        const T* const x = reinterpret_cast<const T*>(at);
        Vec<T> value[kVecs];
        if constexpr (kTerms == Terms::kLanes) load_row(x, value);
        BP_UNROLL(8)
        for (int v = 0; v < kVecs; ++v) {
          acc[i][v] = fma(kTerms == Terms::kLanes ? value[v] : Vec<T>(*x), line[v], acc[i][v]);
        }
      }
      BP_UNROLL(8)
      for (int g = 0; g < kGroups; ++g) {
        row[g] += step;
        if constexpr (kGroups > 1) BP_OPAQUE(row[g]);
      }
      b += b_step;
    }
  }
  store_rows(t.c, p.ldc, t.tail, acc);
}

template <class T> using WindowTileFn = void (*)(const RunProduct<T>&, const WindowTile<T>&);
template <class T> struct WindowTiles {
  // [the last vector is short][Terms][vecs - 1][rows - 1]; in groups of 3 and of 5 rows.
  WindowTileFn<T> of[2][3][kMostVecs][kMaxTileRows], of_threes[2][3][kMostVecs][kMaxTileRows],
      of_fives[2][3][kMostVecs][kMaxTileRows];
};

template <class T, int kVecs, int kRows, Terms kTerms, int kPer>
constexpr void add_window_tile(WindowTileFn<T> (&of)[2][3][kMostVecs][kMaxTileRows]) {
  constexpr int kAt = static_cast<int>(kTerms);
  of[0][kAt][kVecs - 1][kRows - 1] = window_tile<T, kRows, kVecs, kTerms, kPer, kMasksAreFree>;
  of[1][kAt][kVecs - 1][kRows - 1] = window_tile<T, kRows, kVecs, kTerms, kPer, true>;
}
template <class T, int kVecs, int kRows, Terms kTerms> constexpr void add_window_size(WindowTiles<T>& tiles) {
  if constexpr (kRows <= max_tile_rows(kVecs)) {
    add_window_tile<T, kVecs, kRows, kTerms, kReach<kTerms>>(tiles.of);
    if constexpr (kTerms != Terms::kApart) {
      if constexpr (kRows % 3 == 0) add_window_tile<T, kVecs, kRows, kTerms, 3>(tiles.of_threes);
      if constexpr (kRows % 5 == 0) add_window_tile<T, kVecs, kRows, kTerms, 5>(tiles.of_fives);
    }
  }
}
template <class T, int kVecs, int... kRow> constexpr void add_window_tiles(WindowTiles<T>& tiles, Lanes<kRow...>) {
  (add_window_size<T, kVecs, kRow + 1, Terms::kApart>(tiles), ...);
  (add_window_size<T, kVecs, kRow + 1, Terms::kTogether>(tiles), ...);
  (add_window_size<T, kVecs, kRow + 1, Terms::kLanes>(tiles), ...);
}
template <class T, int... kVec> constexpr WindowTiles<T> make_window_tiles(Lanes<kVec...>) {
  WindowTiles<T> tiles{};
  (add_window_tiles<T, kVec + 1>(tiles, typename FirstLanes<kMaxTileRows>::Type{}), ...);
  return tiles;
}
template <class T> constexpr WindowTiles<T> kWindowTiles = make_window_tiles<T>(typename FirstLanes<kMostVecs>::Type{});

// In groups of `per` rows, or none (1).
template <class T> static void run_rows(const RunProduct<T>& p, std::int64_t per, std::int64_t widest) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const Terms terms = p.lanes ? Terms::kLanes : p.a_row == 1 ? Terms::kTogether : Terms::kApart;
  const std::int64_t all = vectors<T>(p.n), unit_row = per > 1 ? p.a_group : p.a_row;
  const auto& of = per == 3 ? kWindowTiles<T>.of_threes : per == 5 ? kWindowTiles<T>.of_fives : kWindowTiles<T>.of;
  const Split columns(all, widest), rows(p.m / per, max_tile_rows(static_cast<int>(widest)) / per);
  WindowTile<T> t;
  for (std::int64_t x = 0, v = 0; x < columns.parts; v += columns.of(x), ++x) {
    const std::int64_t vecs = columns.of(x), j = v * kWidth;
    t.tail = v + vecs == all ? p.n - (all - 1) * kWidth : kWidth;
    t.b = p.b + j;
    const auto& tiles = of[t.tail < kWidth][static_cast<int>(terms)][vecs - 1];
    for (std::int64_t y = 0, i = 0; y < rows.parts; i += rows.of(y), ++y) {
      t.a = p.a + i * unit_row + (p.lanes ? j : 0);
      t.c = p.c + i * per * p.ldc + j;
      t.start = p.goes_on ? t.c : p.bias == nullptr ? nullptr : p.bias + j;
      t.start_stride = p.goes_on ? p.ldc : 0;
      tiles[rows.of(y) * per - 1](p, t);
    }
  }
}

// ---- turned: C^T = B^T A^T, where rows of C fill vectors better than its few columns --------------------------------

constexpr std::int64_t kTurnedColumns = 8, kTurnedVecs = 4, kTurnedRuns = 16;  // of C; of its rows and of runs at once

// In half cycles, as swap_pays() counts: 2 for each FMA of a vector, 1 for each element that is transposed.
template <class T> static bool turning_pays(const RunProduct<T>& p) {
  if (p.lanes || p.a_row != 1 || p.n > kTurnedColumns) return false;
  std::int64_t terms = 0;
  for (std::int64_t r = 0; r < p.count; ++r) terms += p.runs[r].steps;
  const std::int64_t plain = 2 * terms * p.m * vectors<T>(p.n), turned = 2 * terms * p.n * vectors<T>(p.m);
  return turned + p.m * p.n * (p.goes_on ? 2 : 1) < plain;
}

template <class T> static void run_turned(const RunProduct<T>& p) {
  constexpr std::int64_t kRows = kTurnedVecs * Vec<T>::kWidth;
  alignas(64) T turned[kTurnedColumns * kRows];
  Run runs[kTurnedRuns];
  RunProduct<T> q{};
  q.m = p.n, q.a = p.b, q.a_row = 1, q.a_step = p.b_step, q.b_step = p.a_step;
  q.c = turned, q.ldc = kRows;
  q.runs = runs;
  for (std::int64_t i = 0; i < p.m; i += kRows) {
    T* const c = p.c + i * p.ldc;
    q.n = at_most(p.m - i, kRows), q.b = p.a + i;
    if (p.goes_on) transpose_matrix(c, p.ldc, turned, kRows, q.n, p.n);
    for (std::int64_t j = 0; p.bias != nullptr && j < p.n; ++j) {
      const Vec<T> bias(p.bias[j]);
      for (std::int64_t row = 0; row < q.n; row += Vec<T>::kWidth) store(turned + j * kRows + row, bias);
    }
    q.goes_on = p.goes_on || p.bias != nullptr;
    for (std::int64_t first = 0; first < p.count; first += q.count, q.goes_on = true) {
      q.count = at_most(p.count - first, kTurnedRuns);
      for (std::int64_t r = 0; r < q.count; ++r) {
        const Run& run = p.runs[first + r];
        runs[r] = {run.b, run.a, run.steps};
      }
      run_rows<T>(q, 1, at_most(at_most(widest_tile(q.m), kMostVecs), vectors<T>(q.n)));
    }
    p.n <= Vec<T>::kWidth / 2 ? transpose_few(turned, kRows, c, p.ldc, p.n, q.n)
                              : transpose_matrix(turned, kRows, c, p.ldc, p.n, q.n);
  }
}

template <class T> static void run_product(const RunProduct<T>& p) {
  if (p.m <= 0 || p.n <= 0) return;
  if (p.per == 0 && turning_pays(p)) return run_turned(p);
  const std::int64_t all = vectors<T>(p.n), widest = at_most(at_most(widest_tile(p.m), kMostVecs), all);
  if (p.per == 0) return run_rows<T>(p, 1, widest);
  const bool has_tiles = (p.per == 3 || p.per == 5) && p.per <= max_tile_rows(static_cast<int>(widest));
  if (has_tiles && p.m > p.per && (p.lanes || p.a_row == 1)) return run_rows<T>(p, p.per, widest);
  RunProduct<T> one = p;
  one.per = 0;
  if (p.per == 1) {
    one.a_row = p.a_group;
    return run_product<T>(one);
  }
  one.m = p.per;
  for (std::int64_t i = 0; i < p.m; i += p.per, one.a += p.a_group, one.c += p.per * p.ldc) run_product<T>(one);
}

// What meets in a vector of y is added in registers, as a load would wait for the store before. Row i covers elements
// i y_row .. i y_row + n - 1: of a vector all lanes, the first ones or the last ones, of each run the same.
constexpr int kRunsAtOnce = 5;
template <class T, int kRuns>
static void add_overlapping(const T* x, std::int64_t ldx, T* y, std::int64_t y_row, std::int64_t m,
                            const std::int64_t* at, std::int64_t n) {
  each_vector<T>((m - 1) * y_row + n, [&](auto part) __attribute__((always_inline)) {
    constexpr std::int64_t kWidth = Vec<T>::kWidth;
    const std::int64_t end = at_most((part.i + kWidth - 1) / y_row + 1, m);
    std::int64_t i = part.i < n ? 0 : (part.i - n) / y_row + 1, lane = part.i - i * y_row;
    const T* from = x + i * ldx + lane;
    Vec<T> sum[kRuns];
    BP_UNROLL(8)
    for (int r = 0; r < kRuns; ++r) sum[r] = part.load(y + at[r]);
    for (; i < end; ++i, lane -= y_row, from += ldx - y_row) {
      const std::int64_t first = lane < 0 ? -lane : 0, last = at_most(n - lane, kWidth);
      BP_UNROLL(8)
      for (int r = 0; r < kRuns; ++r) sum[r] = sum[r] + load_lanes(from + r * n, first, last);
    }
    BP_UNROLL(8)
    for (int r = 0; r < kRuns; ++r) part.store(y + at[r], sum[r]);
  });
}

template <class T>
static void add_runs(const T* x, std::int64_t ldx, T* y, std::int64_t y_row, std::int64_t m, const std::int64_t* at,
                     std::int64_t count, std::int64_t n) {
  if (y_row >= n) {  // else a run is all that a window sees of a row of the image, and meets none of another row
    for (std::int64_t i = 0; i < m; ++i, x += ldx, y += y_row) {
      for (std::int64_t r = 0; r < count; ++r) {
        each_vector<T>(n, [&](auto part) __attribute__((always_inline)) {
          part.store(y + at[r], part.load(y + at[r]) + part.load(x + r * n));
        });
      }
    }
    return;
  }
  constexpr void (*kOf[])(const T*, std::int64_t, T*, std::int64_t, std::int64_t, const std::int64_t*, std::int64_t) = {
      add_overlapping<T, 1>, add_overlapping<T, 2>, add_overlapping<T, 3>, add_overlapping<T, 4>,
      add_overlapping<T, 5>};
  const Split some(count, kRunsAtOnce);
  for (std::int64_t i = 0; i < some.parts; x += some.of(i) * n, at += some.of(i), ++i) {
    kOf[some.of(i) - 1](x, ldx, y, y_row, m, at, n);
  }
}

template <class T> void fill_windows(Kernels<T>& table) {
  table.run_product = run_product<T>;
  table.add_runs = add_runs<T>;
}

template void fill_windows(Kernels<float>&);
template void fill_windows(Kernels<double>&);

}  // namespace bp::BP_TIER
