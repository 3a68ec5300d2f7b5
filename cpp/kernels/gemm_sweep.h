// All tiles of a product whose operands lie as the micro-kernel wants them.
#pragma once

#include "kernels/gemm_plan.h"

namespace bp::BP_TIER {

// A part of B as it was given, or of A^T: `depth` values of k, n columns.
template <class T> struct Source {
  const SumOf<T>* b;
  std::int64_t ld, depth, n;
  bool transposed;  // a row of it is a column of B
};
template <class T> std::int64_t bytes_of(const Source<T>& b) {
  return b.depth * b.n * static_cast<std::int64_t>(sizeof(SumOf<T>));
}

// A product whose operands lie as the micro-kernel wants them, or in packed panels.
template <class T> struct Region {
  std::int64_t m, n, k;
  const T* a;
  std::int64_t lda;
  bool a_contiguous, a_packed;  // rows of A contiguous (A given transposed); panels of the tiles' heights
  const T* b;
  std::int64_t ldb;
  bool b_packed;
  T* panel;  // not null: B is one panel wide and lies as it is, the first tile packs it there
  const SumOf<T>* start;
  std::int64_t start_stride;
  SumOf<T>* c;
  std::int64_t ldc;
  const SumOf<T>* after;  // C of the region that comes next (null: none)
  Source<T> next;         // B of it or rows of A, if they have to be asked for (else of no depth)
  Runs soon;              // where B lies as it is: what the caller wants
  bool add;
  SumOf<T> rate;
  std::int64_t chunk;
  std::int64_t max_rows, max_vecs;
};

template <class T>
void run_chunks(TileFn<T> tile, TileArgs<T> t, std::int64_t chunk, std::int64_t a_chunk, std::int64_t panel) {
  for (std::int64_t left = t.k; left > 0; left -= chunk) {
    t.k = at_most(left, chunk);
    tile(t);
    t.a += a_chunk;
    t.b += chunk * t.ldb;
    t.panel += panel;
    t.soon = nullptr;  // the first chunk has asked for as much as it has stretches
    t.add = true;
  }
}

// What a tile of k steps asks for, number `tile` of `tiles`: its share of what is to come, or of what the caller wants.
template <class T> Soon share_of(const Source<T>& b, std::int64_t k, std::int64_t tile, std::int64_t tiles) {
  constexpr std::int64_t kValues = SumOfElement<T>::kValues, kBytes = sizeof(SumOf<T>);
  // Rows and, of each, the lines (or as many lines as there are stretches) that a tile asks for.
  const std::int64_t height = b.transposed ? b.n : b.depth;
  const std::int64_t ld = b.ld * kBytes;
  // Where a row begins within a line, at most.
  const std::int64_t first_begin = reinterpret_cast<std::uintptr_t>(b.b) % kLineBytes;
  const std::int64_t begin = ld % kLineBytes != 0 ? kLineBytes - kBytes : first_begin;
  const std::int64_t parts = b.transposed ? kValues : ceil_div(begin + b.n * kBytes, kLineBytes);
  const std::int64_t part = tile % parts, place = tile / parts, places = ceil_div(tiles - part, parts);
  const std::int64_t first = height * place / places, rows = height * (place + 1) / places - first;
  const std::int64_t at = part * (b.transposed ? ceil_div(b.depth, kValues) * kBytes : kLineBytes);
  const char* const from = reinterpret_cast<const char*>(b.b) + first * ld + at;
  Soon soon;
  soon.count = at_most(b.transposed ? rows : ceil_div(rows, ceil_div(k, kLine<T>)), kMostSoon);
  soon.step = b.transposed ? kLineBytes : soon.count * ld;
  soon.end = b.transposed ? ceil_div(b.depth, kValues) * kBytes : rows * ld;
  for (std::int64_t i = 0; i < soon.count; ++i) soon.at[i] = from + i * ld;
  return soon;
}
template <class T> Soon share_of(const Runs& runs, std::int64_t k, std::int64_t tile, std::int64_t tiles) {
  const std::int64_t first = runs.count * tile / tiles, end = runs.count * (tile + 1) / tiles;
  const std::int64_t at_once = ceil_div(ceil_div(runs.bytes, kLineBytes), ceil_div(k, kLine<T>));
  Soon soon;
  soon.count = 0, soon.step = at_once * kLineBytes, soon.end = runs.bytes;
  for (std::int64_t i = first; i < end; ++i) {
    for (std::int64_t line = 0; line < at_once && soon.count < kMostSoon; ++line) {
      soon.at[soon.count++] = runs.at[i] + line * kLineBytes;
    }
  }
  return soon;
}

// What the tiles of a region have in common: a small product is many tiles, and each takes little longer than these.
template <class T> BP_INLINE TileArgs<T> common_of(const Region<T>& r) {
  TileArgs<T> t;
  t.k = r.k;
  t.a_step = r.lda;
  t.panel = r.panel;
  t.start = nullptr;
  t.start_stride = r.start_stride;
  t.ldc = r.ldc;
  t.soon = nullptr;
  t.add = r.add, t.rate = r.rate;
  return t;
}

// Tile number `tile` of `tiles`, with rows from i and vectors from v.
template <class T, bool kAsks>
BP_INLINE void run_tile(const Region<T>& r, TileArgs<T>& t, std::int64_t i, std::int64_t rows, std::int64_t v,
                        std::int64_t vecs, std::int64_t all_vecs, const SumOf<T>* next_c, std::int64_t tile,
                        std::int64_t tiles) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t j = v * kWidth;
  const bool contiguous = r.a_contiguous || r.a_packed, packs = r.panel != nullptr && tile == 0;
  const bool packed = r.b_packed || (r.panel != nullptr && tile > 0);
  t.a = r.a_packed ? r.a + i * r.k : r.a + (r.a_contiguous ? i : i * r.lda);
  if (r.a_packed) t.a_step = rows;
  t.b = r.b_packed ? r.b + j * r.k : packed ? r.panel : r.b + j;
  t.ldb = packed ? vecs * kWidth : r.ldb;
  if (r.start != nullptr) t.start = r.start + i * r.start_stride + j;
  t.c = r.c + i * r.ldc + j;
  t.next_c = next_c;
  t.tail = v + vecs == all_vecs ? r.n - (all_vecs - 1) * kWidth : kWidth;
  t.masked_b = !packed;
  const bool edge = t.masked_b && t.tail < kWidth;
  TileKind kind = packs ? TileKind::kPacks : edge ? TileKind::kEdge : TileKind::kWhole;
  Soon soon;
  if constexpr (kAsks) {
    soon = r.next.depth > 0 ? share_of<T>(r.next, r.k, tile, tiles) : share_of<T>(r.soon, r.k, tile, tiles);
    t.soon = &soon;
    if (!packs && (!edge || kMasksAreFree) && vecs <= kMostPackingVecs) kind = TileKind::kAsks;
  }
  const TileFn<T> run = kTiles<T>.of[static_cast<int>(kind)][contiguous][vecs - 1][rows - 1];
  if (r.chunk > 0 && r.chunk < r.k) {
    run_chunks<T>(run, t, r.chunk, r.chunk * (contiguous ? t.a_step : 1), packs ? r.chunk * vecs * kWidth : 0);
  } else {
    run(t);
  }
}

template <class T, bool kAsks> void sweep_tiles(const Region<T>& r) {
  const std::int64_t all_vecs = vectors<T>(r.n);
  const Split rows(r.m, r.max_rows), cols(all_vecs, r.max_vecs);
  const std::int64_t tiles = rows.parts * cols.parts;
  const bool b_stays = r.k * r.n * static_cast<std::int64_t>(sizeof(T)) <= cache_shares.sweep && cols.parts > 1;
  TileArgs<T> t = common_of(r);
  std::int64_t y = 0, i = 0, x = 0, v = 0;
  for (std::int64_t done = 1; done <= tiles; ++done) {
    const std::int64_t height = rows.of(y), vecs = cols.of(x), at_i = i, at_v = v;
    if (b_stays) {
      ++x, v += vecs;
      if (x == cols.parts && done < tiles) ++y, i += height, x = 0, v = 0;
    } else {
      ++y, i += height;
      if (y == rows.parts && done < tiles) ++x, v += vecs, y = 0, i = 0;
    }
    const SumOf<T>* const next = done < tiles ? r.c + i * r.ldc + v * Vec<T>::kWidth : r.after;
    run_tile<T, kAsks>(r, t, at_i, height, at_v, vecs, all_vecs, next, done - 1, tiles);
  }
}

// All tiles of a region. The operand that the inner loop runs over again and again is the one that stays in L1.
template <class T> void sweep(const Region<T>& r) {
  if ((r.next.depth > 0 || r.soon.count > 0) && r.k > 0) {
    sweep_tiles<T, true>(r);
  } else {
    sweep_tiles<T, false>(r);
  }
}

template <class T> std::int64_t tallest_tile(const Region<T>& r) {
  const std::int64_t rows = max_tile_rows(static_cast<int>(at_most(r.max_vecs, vectors<T>(r.n))));
  const bool crowded = !r.a_contiguous && !r.a_packed && aliases<T>(r.lda) && r.m > kAliasRows;
  return crowded ? at_most(rows, kAliasRows) : rows;
}

// c (m x n, leading dimension ldc) += x (m x n, compact).
template <class T> void add_matrix(const T* x, T* c, std::int64_t ldc, std::int64_t m, std::int64_t n) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; j += kWidth) {
      const std::int64_t cols = at_most(n - j, kWidth);
      store_n(c + i * ldc + j, load_n(c + i * ldc + j, cols) + load_n(x + i * n + j, cols), cols);
    }
  }
}

// C += the product, whose chunks or blocks have to be summed apart from what C holds: in `totals`, of m x n.
template <class T, class Multiply> void multiply_apart(const Matmul<T>& p, T* totals, Multiply multiply) {
  Matmul<T> apart = p;
  apart.c = totals, apart.ldc = p.n, apart.add = false;
  multiply(apart);
  add_matrix<T>(totals, p.c, p.ldc, p.m, p.n);
}

}  // namespace bp::BP_TIER
