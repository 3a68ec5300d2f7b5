"""The part of Model that takes it to other programs."""

from __future__ import annotations

from typing import Any

from ..base import checks


class Leaving:
    """Base of `Looks`."""

    name: str
    dtype: str
    _built: Any

    def to_onnx(self, path: Any, opset: int = 17) -> None:
        """Write the model as an ONNX file, which computes what `predict` does.

        Parameters
        ----------
        path : path
            Of the file, written whole or not at all.
        opset : int
            The version of ONNX's operations, 17 to 23.

        Raises
        ------
        NotBuiltError
            The model has no weights yet.
        ImportError
            The package ``onnx`` is missing (``pip install 'bpcore[onnx]'``).
        ValueError
            A layer has no counterpart in ONNX.

        Notes
        -----
        Inputs and outputs have the model's names and dtype; the batch may be of any size.
        """
        from ..export import onnx
        from ..files.atomic import write_atomically

        engine = self._built()
        name = checks.path(path)
        if engine.compute != engine.dtype:
            raise ValueError(
                f"model {self.name!r} computes in {engine.compute}, which ONNX would not round to; "
                "make it anew without `compute`, and take the weights over by set_weights"
            )
        ends = engine.input_tensors, engine.output_tensors
        names = engine.signature.inputs.names, engine.signature.outputs.names
        content = onnx.model(self.name, engine.nodes, ends, names, engine.dtype, opset)
        write_atomically(name, content)
