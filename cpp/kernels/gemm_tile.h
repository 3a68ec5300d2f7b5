// The micro-kernel of the matrix product: kRows x kVecs registers of C, one FMA chain per lane over k increasing.
//
// B is read as vectors along n, A is broadcast; no lane ever holds a partial sum of another element, so every tile
// shape gives the same bits. One step of k: 2 * kRows * kVecs * W flops for kRows + kVecs loads. The error of an
// element is that of its chain: |error| <= k u (|A| |B|), u = 2^-24 or 2^-53.
//
// T is what A and B hold, SumOf<T> what C holds: the same but for pairs of bfloat16, of which a step takes two values
// of k.
#pragma once

#include "simd/transpose.h"

namespace bp::BP_TIER {

// Masked loads cost nothing (AVX-512) or a place in the multipliers' queue (AVX2: 512^3 at 94 % of the peak without, 86
// % with them in every step); on the other tiers the edge of B is packed.
#if defined(__AVX2__)
constexpr bool kMaskedLoads = true;
#else
constexpr bool kMaskedLoads = false;
#endif
#if defined(__AVX512F__)
constexpr bool kMasksAreFree = true;
#else
constexpr bool kMasksAreFree = false;
#endif

// The tallest tile of this width in vectors: accumulators + B vectors + one broadcast fit the registers (14 * 2 + 2 + 1
// = 31 of 32, 6 * 2 + 2 + 1 = 15 of 16). Wide and low tiles are for matrices of 1 to 3 rows, which need 8 chains in
// flight to hide the FMA's latency (4 cycles, two a cycle).
constexpr std::int64_t kLineBytes = 64;
template <class T> constexpr std::int64_t kLine = kLineBytes / static_cast<std::int64_t>(sizeof(T));  // elements
constexpr int kMaxTileVecs = 8;
constexpr int kMaxTileRows = 16;
constexpr int max_tile_rows(int vecs) {
  if (vecs == 1) return kManyRegisters ? 16 : 12;
  if (vecs == 2) return kManyRegisters ? 14 : 6;
  if (vecs == 3) return 3;
  if (vecs == 4) return kManyRegisters ? 3 : 2;
  return 1;
}

template <class T> struct SumOfElement {
  using Type = T;
  static constexpr std::int64_t kValues = 1;  // of k in one element of A or B
};
template <class T> using SumOf = typename SumOfElement<T>::Type;

// Lines that will be needed later: a tile asks for those from at[0] to at[count - 1], in each stretch of kLine steps
// `step` bytes further, up to `end`. Few at a time: about 20 may be under way, and one more stops everything.
constexpr std::int64_t kMostSoon = 16;
struct Soon {
  std::int64_t count, step, end;
  const char* at[kMostSoon];
};

template <class T> struct TileArgs {
  std::int64_t k;
  const T* a;  // row i, step p: a[i * a_step + p], or a[p * a_step + i] where rows are contiguous
  std::int64_t a_step;
  const T* b;  // step p: b[p * ldb ...]
  std::int64_t ldb;
  T* panel;               // of tiles that pack: step p of B is left at panel[p * kVecs * W ...]
  const SumOf<T>* start;  // what the chains start from (bias with stride 0, or C itself); null: 0
  std::int64_t start_stride;
  SumOf<T>* c;
  std::int64_t ldc;
  const SumOf<T>* next_c;  // of the tile to come, asked for while the chains run; or null
  const Soon* soon;        // of tiles that ask; null: nothing
  std::int64_t tail;       // valid lanes of the last vector, 1..W
  bool masked_b;           // B itself ends there, else it is padded
  bool add;                // c += sum, else c = sum
  SumOf<T> rate;           // not 0: c -= rate * sum
};

template <class T> using TileFn = void (*)(const TileArgs<T>&);

// Keeps the compiler from rewriting address arithmetic into one pointer per row, which would spill.
#define BP_OPAQUE(pointer) asm("" : "+r"(pointer))

template <class T, int kVecs> BP_INLINE void load_edge(const T* p, std::int64_t tail, Vec<T> (&row)[kVecs]) {
  BP_UNROLL(8)
  for (int v = 0; v < kVecs - 1; ++v) row[v] = load(p + v * Vec<T>::kWidth);
  row[kVecs - 1] = load_n(p + (kVecs - 1) * Vec<T>::kWidth, tail);
}

// Chains of kRows rows, from rows `stride` apart, or from 0 (null).
template <class T, int kRows, int kVecs>
BP_INLINE void begin_rows(const T* start, std::int64_t stride, std::int64_t tail, Vec<T> (&acc)[kRows][kVecs]) {
  if (start != nullptr) {
    BP_UNROLL(16)
    for (int i = 0; i < kRows; ++i) load_edge<T, kVecs>(start + i * stride, tail, acc[i]);
  } else {
    BP_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      BP_UNROLL(8)
      for (int v = 0; v < kVecs; ++v) acc[i][v] = Vec<T>(typename Vec<T>::N{});
    }
  }
}
template <class T, int kRows, int kVecs>
BP_INLINE void store_rows(T* c, std::int64_t ldc, std::int64_t tail, const Vec<T> (&acc)[kRows][kVecs]) {
  constexpr int kWidth = Vec<T>::kWidth;
  BP_UNROLL(16)
  for (int i = 0; i < kRows; ++i, c += ldc) {
    BP_UNROLL(8)
    for (int v = 0; v < kVecs - 1; ++v) store(c + v * kWidth, acc[i][v]);
    store_n(c + (kVecs - 1) * kWidth, acc[i][kVecs - 1], tail);
  }
}

// The next tile's C is asked for while the chains run: its lines are far away when the block before has passed over
// them, and its chains may start from them. Four rows at a time, or fewer beside other lines (Soon), because all at
// once would keep A and B waiting. Not worth the instructions below kPrefetchDepth steps (a tile of C is about as many
// lines as 14 steps of k are cycles).
constexpr std::int64_t kPrefetchDepth = 64;
// Rows of B that lie apart are asked for this number of steps ahead: they may be in another core's cache, as the
// weights that its update left there. A panel's lines follow each other, which the hardware sees.
constexpr std::int64_t kStepsAhead = 4;
// The first tile of a column can pack B's panel on its way, for those below it: two stores a step beside 28 FMAs. What
// is packed may come from memory, in rows too far apart for the hardware to follow: this number of them is asked for
// ahead.
constexpr std::int64_t kPackStepsAhead = 16;
template <class T> constexpr bool kTilesPack = kMaskedLoads && SumOfElement<T>::kValues == 1;
constexpr int kMostPackingVecs = 2;  // with more there are too few rows for tiles to pack or to ask ahead

// B is read by whole vectors; with the last one masked, at B's edge (where masks are not free a kind of its own, which
// asks too); by tiles that ask for other lines (Soon); masked, packed on the way, and asking too.
enum class TileKind { kWhole, kEdge, kAsks, kPacks, kCount };

template <class T, int kRows, int kVecs>
BP_INLINE void tile_end(const TileArgs<T>& t, Vec<SumOf<T>> (&acc)[kRows][kVecs]) {
  if (t.add) {
    BP_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      Vec<SumOf<T>> old[kVecs];
      load_edge<SumOf<T>, kVecs>(t.c + i * t.ldc, t.tail, old);
      BP_UNROLL(8)
      for (int v = 0; v < kVecs; ++v) {
        acc[i][v] = t.rate == 0 ? old[v] + acc[i][v] : fnma(Vec<SumOf<T>>(t.rate), acc[i][v], old[v]);
      }
    }
  }
  store_rows(t.c, t.ldc, t.tail, acc);
}

template <class T, int kRows, int kVecs, bool kContiguousRows, TileKind kKind> void tile(const TileArgs<T>& t) {
  constexpr bool kPacks = kKind == TileKind::kPacks, kAsks = kKind != TileKind::kWhole;
  constexpr bool kMasked = kMaskedLoads && (kMasksAreFree || kPacks || kKind == TileKind::kEdge);
  constexpr int kWidth = Vec<T>::kWidth;
  constexpr int kGroups = (kRows + 3) / 4;  // rows 4g .. 4g + 3 are reached from one pointer: + 0, s, 2s, 3s
  Vec<SumOf<T>> acc[kRows][kVecs];
  begin_rows(t.start, t.start_stride, t.tail, acc);
  const char* row[kGroups];
  const std::int64_t stride =
      kContiguousRows ? static_cast<std::int64_t>(sizeof(T)) : t.a_step * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t stride_3 = 3 * stride;
  const std::int64_t step =
      kContiguousRows ? t.a_step * static_cast<std::int64_t>(sizeof(T)) : static_cast<std::int64_t>(sizeof(T));
  BP_UNROLL(4)
  for (int g = 0; g < kGroups; ++g) row[g] = reinterpret_cast<const char*>(t.a) + 4 * g * stride;
  const T* b = t.b;
  const std::int64_t ldb = t.ldb, b_tail = t.masked_b ? t.tail : kWidth;
  const std::int64_t ahead = kPacks ? kPackStepsAhead * ldb : t.masked_b ? kStepsAhead * ldb : 0;
  T* panel = t.panel;
  const SumOf<T>* next_c = t.next_c;
  const Soon* const soon = kAsks ? t.soon : nullptr;
  std::int64_t soon_at = 0;
  std::int64_t c_rows = soon != nullptr ? (kRows * kLine<T> + t.k - 1) / t.k : 4;  // a stretch
  if (next_c == nullptr || t.k < kPrefetchDepth) c_rows = 0;
  const std::int64_t stretch = soon != nullptr ? kLine<T> : c_rows == 0 ? t.k : (t.k + kGroups - 1) / kGroups;
  for (std::int64_t left = t.k; left > 0;) {
    for (std::int64_t i = 0; i < c_rows; ++i, next_c += t.ldc) {
      BP_UNROLL(8)
      for (int v = 0; v < kVecs; ++v) __builtin_prefetch(next_c + v * kWidth, 1);
      __builtin_prefetch(next_c + kVecs * kWidth - 1, 1);  // where rows do not begin with a line
    }
    if (soon != nullptr && soon_at < soon->end) {
      for (std::int64_t i = 0; i < soon->count; ++i) __builtin_prefetch(soon->at[i] + soon_at, 0, 2);
      soon_at += soon->step;
    }
    std::int64_t p = left < stretch ? left : stretch;
    left -= p;
    for (; p > 0; --p) {
      Vec<T> line[kVecs];
      if (ahead != 0) {
        BP_UNROLL(8)
        for (int v = 0; v < kVecs; ++v) __builtin_prefetch(b + ahead + v * kWidth);
        if constexpr (kPacks) __builtin_prefetch(b + ahead + kVecs * kWidth - 1);
        if constexpr (kContiguousRows) __builtin_prefetch(row[0] + (2 * kRows - 1) * sizeof(T));
      }
      if constexpr (kMasked) {
        load_edge<T, kVecs>(b, b_tail, line);
      } else {
        BP_UNROLL(8)
        for (int v = 0; v < kVecs; ++v) line[v] = load(b + v * kWidth);
      }
      if constexpr (kPacks) {
        BP_UNROLL(8)
        for (int v = 0; v < kVecs; ++v) store(panel + v * kWidth, line[v]);
        panel += kVecs * kWidth;
      }
      BP_UNROLL(16)
      for (int i = 0; i < kRows; ++i) {
        const char* at = kContiguousRows ? row[0] + i * static_cast<std::int64_t>(sizeof(T)) : row[i / 4];
        if (!kContiguousRows && i % 4 != 0) at += i % 4 == 3 ? stride_3 : i % 4 * stride;
        const Vec<T> x(*reinterpret_cast<const T*>(at));
        BP_UNROLL(8)
        for (int v = 0; v < kVecs; ++v) acc[i][v] = fma(x, line[v], acc[i][v]);
      }
      BP_UNROLL(4)
      for (int g = 0; g < (kContiguousRows ? 1 : kGroups); ++g) {
        row[g] += step;
        if constexpr (!kContiguousRows) BP_OPAQUE(row[g]);
      }
      b += ldb;
    }
  }
  tile_end<T, kRows, kVecs>(t, acc);
}

template <class T> struct TileTable {
  // [TileKind][rows of A contiguous][vecs - 1][rows - 1]
  TileFn<T> of[static_cast<int>(TileKind::kCount)][2][kMaxTileVecs][kMaxTileRows];
};

template <class T, int kVecs, int kRows, TileKind kKind> constexpr void add_tile(TileTable<T>& table, TileKind as) {
  auto& of = table.of[static_cast<int>(as)];
  of[0][kVecs - 1][kRows - 1] = tile<T, kRows, kVecs, false, kKind>;
  of[1][kVecs - 1][kRows - 1] = tile<T, kRows, kVecs, true, kKind>;
}

template <class T, int kVecs, int kRows> constexpr void add_size(TileTable<T>& table) {
  if constexpr (kRows <= max_tile_rows(kVecs)) {
    add_tile<T, kVecs, kRows, TileKind::kWhole>(table, TileKind::kWhole);
    // Where masks are free one tile serves both, and where there are none B's edge is packed.
    constexpr bool kBoth = kMasksAreFree || !kMaskedLoads;
    add_tile<T, kVecs, kRows, kBoth ? TileKind::kWhole : TileKind::kEdge>(table, TileKind::kEdge);
    if constexpr (kVecs <= kMostPackingVecs) {
      add_tile<T, kVecs, kRows, TileKind::kAsks>(table, TileKind::kAsks);
      if constexpr (kTilesPack<T>) add_tile<T, kVecs, kRows, TileKind::kPacks>(table, TileKind::kPacks);
    }
  }
}

template <class T, int kVecs, int... kRow> constexpr void add_tiles(TileTable<T>& table, Lanes<kRow...>) {
  (add_size<T, kVecs, kRow + 1>(table), ...);
}

template <class T, int... kVec> constexpr TileTable<T> make_tiles(Lanes<kVec...>) {
  TileTable<T> table{};
  (add_tiles<T, kVec + 1>(table, typename FirstLanes<kMaxTileRows>::Type{}), ...);
  return table;
}

template <class T> constexpr TileTable<T> kTiles = make_tiles<T>(typename FirstLanes<kMaxTileVecs>::Type{});

}  // namespace bp::BP_TIER
