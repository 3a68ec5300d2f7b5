"""Layers. Each works alone, and as part of `bpcore.Sequential` and `bpcore.Model`."""

from __future__ import annotations

from .activation import Activation
from .base import Layer
from .dense import Dense, TiedDense
from .input import Input, InputLayer
from .merging import (
    Add,
    Average,
    Concatenate,
    Constant,
    Divide,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from .noise import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from .normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
)
from .reshaping import Flatten, Reshape
from .scale import PReLU, Scale, Swish
from .standardization import Normalization

__all__ = [
    "Activation",
    "Add",
    "AlphaDropout",
    "Average",
    "BatchNormalization",
    "Concatenate",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GroupNormalization",
    "Input",
    "Layer",
    "LayerNormalization",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "RMSNormalization",
    "Reshape",
    "Scale",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Subtract",
    "Swish",
    "TiedDense",
]

# All that a saved model may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Activation,
        Add,
        AlphaDropout,
        Average,
        BatchNormalization,
        Concatenate,
        Constant,
        Dense,
        Divide,
        Dropout,
        Flatten,
        GaussianDropout,
        GaussianNoise,
        GroupNormalization,
        InputLayer,
        LayerNormalization,
        Maximum,
        Minimum,
        Multiply,
        Normalization,
        PReLU,
        RMSNormalization,
        Reshape,
        Scale,
        SpatialDropout1D,
        SpatialDropout2D,
        SpatialDropout3D,
        Subtract,
        Swish,
        TiedDense,
    )
}
