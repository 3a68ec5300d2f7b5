"""An Optuna study: units, rate and dropout are searched, hopeless trials are ended early."""

import optuna

import bpcore as bp

(x, y), (xt, yt) = bp.datasets.load_digits(split=True)
x, y, xv, yv = x[:-300], y[:-300], x[-300:], y[-300:]


class Pruning(bp.callbacks.Callback):
    """Tells Optuna the validation loss of each epoch, and stops where it says so."""

    def __init__(self, trial):
        self.trial = trial

    def on_epoch_end(self, epoch, logs=None):
        self.trial.report(logs["val_loss"], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned()


def objective(trial):
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    model = bp.Sequential(
        [
            bp.layers.Dense(trial.suggest_int("units", 8, 128, log=True), "relu"),
            bp.layers.Dropout(trial.suggest_float("dropout", 0.0, 0.5)),
            bp.layers.Dense(10),
        ],
        seed=trial.number,
    )
    model.compile(bp.optimizers.Adam(rate), "cross_entropy", metrics=["accuracy"])
    model.fit(
        x, y, epochs=12, validation_data=(xv, yv), verbose=0, callbacks=[Pruning(trial)]
    )  # fmt: skip
    return model.evaluate(xv, yv)["loss"]


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
)
study.optimize(objective, n_trials=20)
states = [trial.state for trial in study.trials]
pruned = states.count(optuna.trial.TrialState.PRUNED)
print(f"{len(states)} trials, {pruned} ended early; best loss {study.best_value:.3f} with "
      f"{study.best_params}")  # fmt: skip
assert study.best_value < 0.4 and pruned > 0
