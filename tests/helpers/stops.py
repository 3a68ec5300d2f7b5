"""A callback that ends `fit` as a kill would, for tests of what goes on afterwards."""

from __future__ import annotations

import bpcore as bp


class StopAt(bp.callbacks.Callback):
    """Raises InterruptedError at the end of an epoch, which may be changed; -1: never."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise InterruptedError
