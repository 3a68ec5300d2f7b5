// What the processor is told about cache lines before it needs them.
#pragma once

namespace bp {

// A line that is about to be written, perhaps held by another core too: asked for as this core's own. Compilers emit
// the instruction only for processors sure to know it; those that do not take it for a no-op.
inline void prefetch_own(const void* p) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#else
  __builtin_prefetch(p, 1);
#endif
}

}  // namespace bp
