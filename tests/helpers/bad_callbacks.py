"""Bad arguments of callbacks and of the learning-rate finder, in the form of bad_inputs.py."""

from __future__ import annotations

import bpcore as bp

from .bad_inputs import EITHER, NAN, TYPE, VALUE, env

C = bp.callbacks
SCHEDULE = bp.schedules.Cosine(0.1, 10)


def with_schedule(e, callback):
    e.model.compile(optimizer=bp.optimizers.SGD(SCHEDULE), loss="cross_entropy")
    e.model.optimizer.iterations = 1  # as the hash has it
    e.fit(callbacks=[callback])


def twice(e):
    callback = C.EarlyStopping("loss")
    e.fit(callbacks=[callback, callback])


ROWS = [
    ("monitor-number", lambda e: C.EarlyStopping(3), TYPE, "monitor.*3"),
    ("monitor-empty", lambda e: C.EarlyStopping(""), TYPE, "monitor"),
    ("monitor-unknown", lambda e: C.EarlyStopping("val_score"), VALUE, "val_score.*mode='max'"),
    ("mode", lambda e: C.EarlyStopping(mode="maximum"), VALUE, "mode.*'maximum'.*'max'"),
    ("delta-negative", lambda e: C.EarlyStopping(min_delta=-1), VALUE, "min_delta.*-1"),
    ("delta-nan", lambda e: C.EarlyStopping(min_delta=NAN), VALUE, "min_delta.*nan"),
    ("patience-negative", lambda e: C.EarlyStopping(patience=-1), VALUE, "patience.*-1"),
    ("patience-float", lambda e: C.EarlyStopping(patience=2.5), TYPE, "patience.*2.5"),
    ("patience-typo", lambda e: C.EarlyStopping(patient=2), TYPE, "patient.*'patience'"),
    ("baseline", lambda e: C.EarlyStopping(baseline="low"), TYPE, "baseline.*'low'"),
    ("restore", lambda e: C.EarlyStopping(restore_best_weights=1), TYPE, "restore_best_weights"),
    ("start", lambda e: C.EarlyStopping(start_from_epoch=-1), VALUE, "start_from_epoch.*-1"),
    ("verbose", lambda e: C.EarlyStopping(verbose=2), VALUE, "verbose.*2"),
    ("twice", twice, VALUE, r"callbacks\[1\].*twice"),
    ("class", lambda e: e.fit(callbacks=[C.EarlyStopping]), TYPE, "class EarlyStopping"),
    ("path-number", lambda e: C.ModelCheckpoint(3), TYPE, "filepath.*3"),
    ("path-bytes", lambda e: C.ModelCheckpoint(b"a"), TYPE, "filepath"),
    ("path-empty", lambda e: C.ModelCheckpoint(""), TYPE, "filepath"),
    ("path-brace", lambda e: C.ModelCheckpoint("a{epoch"), VALUE, r"a\{epoch"),
    ("path-attribute", lambda e: C.ModelCheckpoint("{epoch.x}"), VALUE, r"'epoch.x'"),
    ("path-position", lambda e: C.ModelCheckpoint("{}"), VALUE, "''.*'epoch'"),
    ("freq-word", lambda e: C.ModelCheckpoint("a", save_freq="batch"), VALUE, "save_freq.*'batch'"),
    ("freq-zero", lambda e: C.ModelCheckpoint("a", save_freq=0), VALUE, "save_freq.*0"),
    ("threshold", lambda e: C.ModelCheckpoint("a", initial_value_threshold=NAN), VALUE, "nan"),
    ("best", lambda e: C.ModelCheckpoint("a", save_best_only="yes"), TYPE, "save_best_only.*'yes'"),
    ("factor-one", lambda e: C.ReduceLROnPlateau(factor=1.0), VALUE, "factor.*1.0"),
    ("factor-zero", lambda e: C.ReduceLROnPlateau(factor=0.0), VALUE, "factor.*0.0"),
    ("cooldown", lambda e: C.ReduceLROnPlateau(cooldown=-1), VALUE, "cooldown.*-1"),
    ("min-lr", lambda e: C.ReduceLROnPlateau(min_lr=-1e-3), VALUE, "min_lr.*-0.001"),
    ("plateau-schedule", lambda e: with_schedule(e, C.ReduceLROnPlateau("loss")), TYPE,
     "ReduceLROnPlateau.*schedule.*Cosine"),
    ("scheduler-schedule",
     lambda e: with_schedule(e, C.LearningRateScheduler(lambda epoch, rate: rate)), TYPE,
     "LearningRateScheduler.*schedule.*Cosine"),
    ("scheduler-number", lambda e: C.LearningRateScheduler(0.1), TYPE, "schedule.*0.1"),
    ("scheduler-none",
     lambda e: e.fit(callbacks=[C.LearningRateScheduler(lambda epoch, rate: None)]), VALUE,
     "schedule at epoch 0.*None"),
    ("scheduler-zero", lambda e: e.fit(callbacks=[C.LearningRateScheduler(lambda epoch: 0.0)]),
     VALUE, "schedule at epoch 0.*0.0"),
    ("csv-path", lambda e: C.CSVLogger(None), TYPE, "filename.*None"),
    ("csv-separator", lambda e: C.CSVLogger("a", separator=", "), VALUE, "separator.*', '"),
    ("csv-folder", lambda e: e.fit(callbacks=[C.CSVLogger("no/such/a.csv")]), FileNotFoundError,
     "no folder.*no/such"),
    ("csv-is-folder", lambda e: e.fit(callbacks=[C.CSVLogger(".")]), IsADirectoryError, "folder"),
    ("seconds", lambda e: C.TimeLimit(0), VALUE, "seconds.*0"),
    ("seconds-text", lambda e: C.TimeLimit("1h"), TYPE, "seconds.*'1h'"),
    ("decay", lambda e: C.EMA(1.0), VALUE, "decay.*1.0"),
    ("every", lambda e: C.EMA(every=0), VALUE, "every.*0"),
    ("validate", lambda e: C.SWA(3, validate=None), TYPE, "validate.*None"),
    ("start-epoch", lambda e: C.SWA(-1), VALUE, "start_epoch.*-1"),
    ("start-epoch-missing", lambda e: C.SWA(), TYPE, "start_epoch"),
    ("lambda", lambda e: C.LambdaCallback(on_epoch_end=3), TYPE, "on_epoch_end.*3"),
    ("board-path", lambda e: C.TensorBoard(3), TYPE, "log_dir.*3"),
    ("board-freq", lambda e: C.TensorBoard("a", update_freq="step"), VALUE, "update_freq.*'step'"),
    ("finder-order", lambda e: e.model.find_learning_rate(e.x, e.y, low=1, high=1), VALUE,
     "low=1.*high=1"),
    ("finder-low", lambda e: e.model.find_learning_rate(e.x, e.y, low=0), VALUE, "low.*0"),
    ("finder-steps", lambda e: e.model.find_learning_rate(e.x, e.y, steps=5), VALUE, "steps.*5"),
    ("finder-batch", lambda e: e.model.find_learning_rate(e.x, e.y, batch_size=0), VALUE,
     "batch_size.*0"),
    ("finder-rows", lambda e: e.model.find_learning_rate(e.x, e.y[:3]), VALUE, "3.*10|10.*3"),
    ("finder-no-y", lambda e: e.model.find_learning_rate(e.x), EITHER, "y"),
    ("finder-compile", lambda e: bp.Sequential([bp.layers.Dense(3)]).find_learning_rate(e.x, e.y),
     RuntimeError, "compile"),
]  # fmt: skip

__all__ = ["ROWS", "env"]
