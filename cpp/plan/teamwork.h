// How work is divided among threads, in training and in use alike: rows that one takes at once, and how many threads
// pay.
#pragma once

#include <cstdint>

namespace bp {

// Rows a thread takes through all layers at once: enough that copying a layer's weights into panels is a small part
// (784-512-512-10: 3 % faster than with 128), few enough that a layer's activations stay in a 1 MB level-2 cache (256
// rows x 512 floats = 512 KB).
constexpr std::int64_t kRowBlock = 256;
constexpr std::int64_t kBlockValues = kRowBlock * 512;  // of one layer, in samples of images or sequences

// Threads worth waking for a number of flops. A team costs about a microsecond to start, and each member 0.1 us at the
// two barriers and a copy of the weights that others have just written (docs/scaling.md): 6e5 flops take 5 to 10 us.
constexpr std::int64_t kFlopsPerThread = 600'000;
// A thread that takes samples reads all weights for them: of fewer rows than this it is bound by that, not by
// arithmetic (4 rows x 2 vectors are the 8 chains of a tile that hide the multiplier's latency).
constexpr std::int64_t kRowsPerThread = 4;
// Seconds that they may take one thread: the order of magnitude.
inline double seconds_for(std::int64_t flops) { return static_cast<double>(flops) / 3e10; }
int threads_for(std::int64_t flops);
int threads_for(std::int64_t flops, std::int64_t rows);

}  // namespace bp
