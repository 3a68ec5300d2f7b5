"""Tests of bpcore. A package, so that the benchmarks can import the NumPy reference."""
