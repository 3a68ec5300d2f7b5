// Preloaded by test_out_of_memory.py: the n-th allocation fails, and what the core allocates lies before a page that
// nobody may touch.
#include <sys/mman.h>
#include <unistd.h>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <new>
extern "C" void __libc_free(void*);
namespace {
long left = 0;  // the allocation that makes it 0 fails
bool fails() {
  return __atomic_load_n(&left, __ATOMIC_RELAXED) > 0 && __atomic_sub_fetch(&left, 1, __ATOMIC_RELAXED) == 0;
}
struct Block {
  char *data, *begin;
  std::size_t size;
};
constexpr int kBlocks = 1 << 14;
// What is smaller does not fail: pybind11 needs it for its tables of objects and types, and does not survive without.
constexpr std::size_t kPlain = 1024;
Block blocks[kBlocks];
volatile char lock;
void take() {
  while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) {
  }
}
void give() { __atomic_clear(&lock, __ATOMIC_RELEASE); }
int place(const void* data) {
  return static_cast<int>(reinterpret_cast<std::uintptr_t>(data) / 64 * 2654435761u % kBlocks);
}
}  // namespace
extern "C" void bp_test_fail(long n) { left = n; }
extern "C" int posix_memalign(void** p, std::size_t a, std::size_t n) {
  if (n > kPlain && fails()) return ENOMEM;
  const std::size_t page = 4096, inner = (n + a - 1) / a * a, whole = (inner + a + page - 1) / page * page + page;
  void* begin = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) return ENOMEM;
  char* end = static_cast<char*>(begin) + whole - page;
  mprotect(end, page, PROT_NONE);
  char* data = end - inner;
  data -= reinterpret_cast<std::uintptr_t>(data) % a;
  take();
  int k = place(data);
  while (blocks[k].data != nullptr && blocks[k].data != reinterpret_cast<char*>(1)) k = (k + 1) % kBlocks;
  blocks[k] = {data, static_cast<char*>(begin), whole};
  give();
  *p = data;
  return 0;
}
extern "C" void free(void* p) {
  if (p != nullptr && reinterpret_cast<std::uintptr_t>(p) % 64 == 0) {
    take();
    for (int k = place(p); blocks[k].data != nullptr; k = (k + 1) % kBlocks) {
      if (blocks[k].data != p) continue;
      const Block found = blocks[k];
      blocks[k].data = reinterpret_cast<char*>(1);
      give();
      munmap(found.begin, found.size);
      return;
    }
    give();
  }
  __libc_free(p);
}
void* operator new(std::size_t n) {
  void* p = n > kPlain && fails() ? nullptr : std::malloc(n != 0 ? n : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete(void* p) noexcept { free(p); }
void operator delete(void* p, std::size_t) noexcept { free(p); }
