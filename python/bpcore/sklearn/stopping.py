"""When an estimator's training ends: scikit-learn's rules, as a callback of `Model.fit`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..callbacks.base import Callback, Logs
from ..errors import TrainingDiverged


class Watch(Callback):
    """Fills an estimator's curves after each epoch, and stops it by scikit-learn's rules.

    Parameters
    ----------
    estimator : _MLP
    validation : tuple or None
        ``(X, y, sample_weight)`` whose score counts in place of the training loss.
    samples : int
        Rows of an epoch.
    loss_of : callable
        From the logs to the loss that scikit-learn reports.
    """

    def __init__(self, estimator: Any, validation: Any, samples: int, loss_of: Any) -> None:
        self.estimator, self.validation = estimator, validation
        self.samples, self.loss_of = samples, loss_of
        self.converged = False
        self.says = bool(estimator.verbose) and estimator.verbose != "bar"

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        est = self.estimator
        est.n_iter_ += 1
        est.t_ += self.samples
        est.loss_ = float(self.loss_of(logs))
        est.loss_curve_.append(est.loss_)
        if self.says:
            print(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        self._count()
        self._next_rate()
        if est._no_improvement_count > est.n_iter_no_change and self._stops():
            self.model.stop_training = self.converged = True

    def _count(self) -> None:
        """Epochs without an improvement of at least tol."""
        est = self.estimator
        if self.validation is None:
            worse = est.loss_ > est.best_loss_ - est.tol
            est._no_improvement_count = est._no_improvement_count + 1 if worse else 0
            est.best_loss_ = min(est.best_loss_, est.loss_)
            return
        score = est._score_of(*self.validation)
        est.validation_scores_.append(score)
        if self.says:
            print(f"Validation score: {score:f}")
        worse = score < est.best_validation_score_ + est.tol
        est._no_improvement_count = est._no_improvement_count + 1 if worse else 0
        if score > est.best_validation_score_:
            est.best_validation_score_ = score
            est._best = est.model_.get_weights()

    def _next_rate(self) -> None:
        est = self.estimator
        if est.solver == "sgd" and est.learning_rate == "invscaling":
            est._optimizer.learning_rate = est.learning_rate_init / (est.t_ + 1) ** est.power_t

    def _stops(self) -> bool:
        """Whether to stop; an adaptive rate is divided by 5 first, down to 1e-6."""
        est = self.estimator
        what = "Training loss" if self.validation is None else "Validation score"
        text = (
            f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} "
            "consecutive epochs."
        )
        rate = est._optimizer.learning_rate
        if est.solver != "sgd" or est.learning_rate != "adaptive" or rate <= 1e-6:
            if self.says:
                print(text + " Stopping.")
            return True
        est._optimizer.learning_rate = rate / 5.0
        est._no_improvement_count = 0
        if self.says:
            print(text + f" Setting learning rate to {rate / 5.0:f}")
        return False

    def on_train_diverged(self, error: TrainingDiverged) -> bool:
        """With a validation the best weights are kept, as scikit-learn keeps them."""
        if self.validation is None or not np.isfinite(self.estimator.best_validation_score_):
            return False
        self.estimator.validation_scores_.append(math.nan)
        self.converged = True
        return True
