#include "base/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/watch.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bp {
namespace {

// Rows of a large weight lie on pages of their own. In pages of this size, where the system has them, a product over
// all rows finds them without walks through the page table (1024-2048-2048-100: 1 to 2 %). Smaller arrays would waste
// most of one.
constexpr std::int64_t kHugePage = 2 << 20;

}  // namespace

void* allocate(std::int64_t bytes, const char* what) {
  const bool huge = bytes >= kHugePage;
  void* data = nullptr;
  const auto alignment = static_cast<std::size_t>(huge ? kHugePage : kAlignment);
  if (posix_memalign(&data, alignment, static_cast<std::size_t>(bytes)) != 0) throw OutOfMemory(bytes, what);
#if defined(MADV_HUGEPAGE)
  if (huge) madvise(data, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);  // a wish: may be refused
#endif
  return data;
}

void clear(void* data, std::int64_t bytes) {
  constexpr std::int64_t kPart = 4 << 20;  // 1 to 3 ms, with the pages that the system hands out meanwhile
  constexpr double kOperations = 16;       // a byte, as Watch counts
  Watch watch;
  for (std::int64_t done = 0; done < bytes; done += kPart) {
    const std::int64_t part = std::min(kPart, bytes - done);
    std::memset(static_cast<char*>(data) + done, 0, static_cast<std::size_t>(part));
    if (part == kPart) watch.after(kOperations * static_cast<double>(part));
  }
}

}  // namespace bp
