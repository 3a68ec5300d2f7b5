#include "base/buffer.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bp {
namespace {

// Rows of a large weight lie on pages of their own. In pages of this size, where the system has them, a product over all rows
// finds them without walks through the page table (1024-2048-2048-100: 1 to 2 %). Smaller arrays would waste most of one.
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

}  // namespace bp
