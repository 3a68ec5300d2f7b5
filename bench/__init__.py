"""Benchmarks of bpcore against NumPy, scikit-learn, PyTorch, JAX, ONNX Runtime and oneDNN, where
installed.

Run `python -m bench` from the repository's root; `--quick` for a minute's look, `--isa v3` for
what a machine with AVX2 would do, `--publish` to write docs/benchmarks.md.
"""
