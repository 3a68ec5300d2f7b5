"""An independent reference in plain NumPy: written from the formulas, sharing no code with bpcore.

Every forward accepts complex arrays, so that a derivative is the imaginary part at x + 1e-200j * v
(complex step: no subtraction, so no cancellation; Squire and Trapp, SIAM Review 40, 1998).
"""

from .graph import forward, loss_of_graph
from .losses import LOSSES, loss_value
from .pointwise import ACTIVATIONS, log_softmax, softmax

STEP = 1e-200

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "STEP",
    "forward",
    "log_softmax",
    "loss_of_graph",
    "loss_value",
    "softmax",
]
