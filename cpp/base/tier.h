// Which instruction-set tier a translation unit is compiled for.
//
// Files named *.isa.cpp, and the headers they include from simd/ and kernels/, are compiled once per tier; CMake
// defines BP_TIER as the tier's namespace (baseline, v3, v4, neon). Everything in them lives in bp::BP_TIER, so that
// the linker never merges an AVX-512 instantiation with a baseline one.
#pragma once

#ifndef BP_TIER
#error "this header belongs to *.isa.cpp files, which CMake compiles with BP_TIER set"
#endif

#define BP_INLINE inline __attribute__((always_inline))

// Unrolls the loop that follows completely (n: a literal, at least the trip count): arrays of registers stay in
// registers.
#define BP_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define BP_UNROLL(n) BP_PRAGMA(unroll n)
#else
#define BP_UNROLL(n) BP_PRAGMA(GCC unroll n)
#endif
