"""Benchmarks of bpcore against NumPy, scikit-learn, PyTorch, JAX and ONNX Runtime, where installed.

Run `python -m bench` from the repository's root; `--quick` for a minute's look.
"""
