#include "plan/teamwork.h"

#include <algorithm>

#include "base/threads.h"

namespace bp {

int threads_for(std::int64_t flops) {
  return static_cast<int>(std::clamp<std::int64_t>(flops / kFlopsPerThread, 1, num_threads()));
}

int threads_for(std::int64_t flops, std::int64_t rows) {
  return std::min(threads_for(flops),
                  static_cast<int>(std::max<std::int64_t>((rows + kRowsPerThread - 1) / kRowsPerThread, 1)));
}

}  // namespace bp
