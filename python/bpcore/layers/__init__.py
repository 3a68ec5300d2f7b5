"""Layers. Each works alone, and as part of `bpcore.Sequential` and `bpcore.Model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

# The one list of layers: what is here may be used, and named by a saved model.
from .activation import Activation as Activation
from .base import Layer as Layer
from .cells import RNN as RNN
from .convolution import Conv1D as Conv1D
from .convolution import Conv2D as Conv2D
from .convolution import DepthwiseConv2D as DepthwiseConv2D
from .dense import Dense as Dense
from .dense import MaskedDense as MaskedDense
from .dense import TiedDense as TiedDense
from .fixed_point import FixedPoint as FixedPoint
from .functions import Function as Function
from .functions import ReduceMean as ReduceMean
from .functions import ReduceSum as ReduceSum
from .functions import Slice as Slice
from .functions import StopGradient as StopGradient
from .input import Input as Input
from .input import InputLayer as InputLayer
from .merging import Add as Add
from .merging import Average as Average
from .merging import Concatenate as Concatenate
from .merging import Constant as Constant
from .merging import Divide as Divide
from .merging import Dot as Dot
from .merging import Maximum as Maximum
from .merging import Minimum as Minimum
from .merging import Multiply as Multiply
from .merging import Subtract as Subtract
from .noise import AlphaDropout as AlphaDropout
from .noise import Dropout as Dropout
from .noise import GaussianDropout as GaussianDropout
from .noise import GaussianNoise as GaussianNoise
from .noise import SpatialDropout1D as SpatialDropout1D
from .noise import SpatialDropout2D as SpatialDropout2D
from .noise import SpatialDropout3D as SpatialDropout3D
from .normalization import BatchNormalization as BatchNormalization
from .normalization import GroupNormalization as GroupNormalization
from .normalization import LayerNormalization as LayerNormalization
from .normalization import RMSNormalization as RMSNormalization
from .placing import Cropping1D as Cropping1D
from .placing import Cropping2D as Cropping2D
from .placing import Rescaling as Rescaling
from .placing import UpSampling1D as UpSampling1D
from .placing import UpSampling2D as UpSampling2D
from .placing import ZeroPadding1D as ZeroPadding1D
from .placing import ZeroPadding2D as ZeroPadding2D
from .pooling import AveragePooling1D as AveragePooling1D
from .pooling import AveragePooling2D as AveragePooling2D
from .pooling import GlobalAveragePooling2D as GlobalAveragePooling2D
from .pooling import GlobalMaxPooling2D as GlobalMaxPooling2D
from .pooling import MaxPooling1D as MaxPooling1D
from .pooling import MaxPooling2D as MaxPooling2D
from .recurrent import GRU as GRU
from .recurrent import LSTM as LSTM
from .recurrent import SimpleRNN as SimpleRNN
from .recurrent_base import Returned as Returned
from .reshaping import Flatten as Flatten
from .reshaping import Reshape as Reshape
from .scale import PReLU as PReLU
from .scale import Scale as Scale
from .scale import Swish as Swish
from .separable import SeparableConv2D as SeparableConv2D
from .sequences import Embedding as Embedding
from .sequences import GlobalAveragePooling1D as GlobalAveragePooling1D
from .sequences import GlobalMaxPooling1D as GlobalMaxPooling1D
from .sequences import Masking as Masking
from .sequences import RepeatVector as RepeatVector
from .sequences import TappedDelay as TappedDelay
from .standardization import Normalization as Normalization
from .wrappers import Bidirectional as Bidirectional
from .wrappers import TimeDistributed as TimeDistributed

CLASSES: dict[str, type[Layer]] = {
    name: value
    for name, value in globals().items()
    if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
}
if not TYPE_CHECKING:  # to a type checker the names above are public as they stand
    # What `from bpcore.layers import *` gives: all but the layers that symbolic expressions make.
    _MADE = {"Function", "ReduceMean", "ReduceSum", "Slice", "StopGradient"}  # by bpcore.ops
    _HIDDEN = {"Constant", "Divide", "InputLayer", "Returned", *_MADE}
    __all__ = sorted({*CLASSES, "Input", "Layer"} - _HIDDEN)
