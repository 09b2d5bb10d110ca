"""Callbacks, progress, and runs that are taken up again."""

from __future__ import annotations

import csv
import io
import sys

import numpy as np
import pytest

import dualflow as df
from dualflow.train import progress
from tests.train.test_fit import C, model_of, net_of, points


def fitted(callbacks, **options):
    x, y = points()
    model = model_of("eager")
    options = {"batch_size": 8, "epochs": 6, "validation_data": (x[:9], y[:9])} | options
    history = model.fit(x, y, callbacks=callbacks, **options)
    return model, history


def from_list(values):
    """Puts given numbers into the logs, for callbacks that come after it."""
    left = iter(values)
    return C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(told=next(left)))


def test_early_stopping():
    weights = []
    keep = C.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(keep.model.net[0].weight.tolist())
    )
    stop = C.EarlyStopping("told", patience=2, restore_best_weights=True)
    model, history = fitted([from_list([3.0, 1.0, 2.0, 1.0, 0.0, 0.0]), keep, stop])
    assert stop.stopped_epoch == 3
    assert history.epoch == [0, 1, 2, 3]
    assert stop.best_epoch == 1
    assert model.net[0].weight.tolist() == weights[1]


def test_early_stopping_begins_anew_and_late_and_tells(capsys):
    stop = C.EarlyStopping("told", patience=1, start_from_epoch=2, verbose=1)
    _, history = fitted([from_list([0.0, 1.0, 3.0, 3.0, 0.0, 0.0]), stop])
    assert history.epoch == [0, 1, 2, 3]
    assert capsys.readouterr().out == "epoch 4: training ends, the best told is 3\n"
    _, history = fitted([from_list([9.0] * 6), stop])  # what was best in another fit does not count
    assert history.epoch == [0, 1, 2, 3]
    wanted = C.EarlyStopping("told", patience=2, baseline=5.0)
    _, history = fitted([from_list([9.0, 8.0, 7.0, 7.0]), wanted])
    assert history.epoch == [0, 1]


def test_accuracies_grow():
    stop = C.EarlyStopping("val_accuracy", patience=1)
    assert stop.monitor.sign == 1.0
    with pytest.warns(UserWarning, match="'val_loss' is not among the logs loss, accuracy"):
        fitted([C.EarlyStopping()], validation_data=None, epochs=1)


def test_checkpoints_of_the_best_epochs(tmp_path):
    model, _ = fitted(
        [
            from_list([3.0, 1.0, 2.0]),
            C.ModelCheckpoint(
                tmp_path / "new" / "{epoch}-{told:.0f}.safetensors", "told", save_best_only=True
            ),
        ],
        epochs=3,
    )
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["1-3.safetensors", "2-1.safetensors"]
    model.load_weights(tmp_path / "new" / names[0])


def test_rates_are_set_and_fall():
    rates = []
    note = C.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(round(float(note.model.optimizer.lr), 6))
    )
    fitted([C.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1)), note], epochs=2)
    assert rates == [0.1, 0.05]
    rates.clear()
    plateau = C.ReduceLROnPlateau("told", factor=0.5, patience=2, min_lr=0.0003)
    fitted([from_list([1.0] * 6), plateau, note])
    assert rates == [0.001, 0.001, 0.0005, 0.0005, 0.0003, 0.0003]


def test_rates_by_the_epoch_alone_cooling_and_words(capsys, tmp_path):
    rates = []
    note = C.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(round(float(note.model.optimizer.lr), 6))
    )
    fitted([C.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1), verbose=1), note], epochs=2)
    assert rates == [0.1, 0.05]
    assert "epoch 2: the learning rate is 0.05" in capsys.readouterr().out
    rates.clear()
    plateau = C.ReduceLROnPlateau("told", factor=0.5, patience=1, cooldown=2, verbose=1)
    fitted([from_list([1.0] * 6), plateau, note])
    assert rates == [0.001, 0.0005, 0.0005, 0.0005, 0.00025, 0.00025]
    assert capsys.readouterr().out.count("the learning rate is") == 2
    path = tmp_path / "{epoch:02d}.safetensors"
    fitted([C.ModelCheckpoint(path, save_weights_only=True, verbose=1)], epochs=1)
    assert f"epoch 1: saved {tmp_path / '01.safetensors'}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="BackupAndRestore saves the whole run"):
        C.ModelCheckpoint(path, save_weights_only=False)


class Told(C.Callback):
    """Notes its moments, as a class of Keras's would."""

    def __init__(self):
        self.moments = []

    def on_train_batch_begin(self, batch, logs=None):
        self.moments.append(f"begin {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.moments.append(f"end {batch}")

    def on_test_begin(self, logs=None):
        self.moments.append("test")

    def on_test_end(self, logs=None):
        self.moments.append(sorted(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.moments.append(f"epoch {epoch}")


def test_moments_of_batches_and_validation():
    told = Told()
    fitted([told], epochs=1, batch_size=25)
    assert told.moments == [
        *("begin 0", "end 0", "begin 1", "end 1"),
        *("test", ["accuracy", "loss"], "epoch 0"),
    ]


def test_a_method_that_no_moment_has():
    class Misspelt(C.Callback):
        def on_batch_end(self, batch, logs):
            """Never called."""

    with pytest.warns(UserWarning, match="Misspelt.on_batch_end is never called: moments are on_"):
        fitted([Misspelt()], epochs=1)


def test_schedules_of_optim_step_after_each_epoch():
    x, y = points()
    model = df.train.Model(net_of())
    optimizer = df.optim.SGD(model.parameters(), lr=0.8)
    model.compile(optimizer, "cross_entropy", mode="eager")
    schedule = df.optim.StepLR(optimizer, step_size=1, gamma=0.5)
    model.fit(x, y, epochs=3, callbacks=[C.LearningRateScheduler(schedule)])
    assert optimizer.lr.item() == pytest.approx(0.1)


def test_csv(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fitted([C.CSVLogger(path)], epochs=2)
    fitted([C.CSVLogger(path, append=True)], epochs=1)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    assert [float(row["val_loss"]) for row in rows[:2]] == history.history["val_loss"]


def test_a_loss_that_is_no_number_ends_training():
    x, y = points()
    x[20] = np.nan
    model = model_of("compiled")
    stop = C.TerminateOnNaN()
    with pytest.warns(UserWarning, match="the loss is nan at batch 2"):
        model.fit(x, y, batch_size=8, epochs=3, shuffle=False, callbacks=[stop])
    assert stop.stopped_batch == 2
    assert model.history.epoch == [0]


def test_unknown_moments_are_refused():
    with pytest.raises(TypeError, match="no moment 'on_epoch_stop'"):
        C.LambdaCallback(on_epoch_stop=print)


class StoppedError(Exception):
    """The run is ended from outside."""


@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_a_run_is_taken_up_again(tmp_path, mode, save_freq):
    x, y = points()

    def run(*others):
        df.random.seed(9)
        model = model_of(mode)
        backup = C.BackupAndRestore(tmp_path / "run", save_freq)
        return model, model.fit(x, y, batch_size=8, epochs=4, callbacks=[backup, *others])

    whole, wanted = run()
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    batches = iter(range(100))

    def fail(batch, logs):
        if next(batches) == 17:  # in the third epoch
            raise StoppedError

    with pytest.raises(StoppedError):
        run(C.LambdaCallback(on_train_batch_end=fail))
    df.random.seed(1)
    model, history = run()
    assert history.history == wanted.history
    assert history.epoch == wanted.epoch
    assert model.net[0].weight.tolist() == whole.net[0].weight.tolist()


# ----- progress -----


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self):
        return True


def written(monkeypatch, stream, verbose):
    monkeypatch.setattr(sys, "stdout", stream)
    fitted([], epochs=2, verbose=verbose)
    return stream.getvalue()


def test_it_is_quiet_when_nobody_watches(monkeypatch):
    assert written(monkeypatch, io.StringIO(), "auto") == ""
    assert written(monkeypatch, Terminal(), 0) == ""


def test_lines(monkeypatch):
    lines = written(monkeypatch, io.StringIO(), 2).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  ")
    assert "val_accuracy" in lines[1]


def test_a_bar_in_a_terminal(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    text = written(monkeypatch, Terminal(), "auto")
    assert "epoch 2/2" in text
    assert "val_accuracy" in text


def test_verbose_is_checked():
    with pytest.raises(ValueError, match="verbose=3"):
        fitted([], verbose=3)


def test_the_picture_of_a_history():
    pytest.importorskip("matplotlib")
    _, history = fitted([], epochs=3)
    figure = history.plot()
    loss, accuracy = figure.axes
    assert (loss.get_title(), loss.get_xlabel(), loss.get_ylabel()) == ("loss", "epoch", "loss")
    lines = {line.get_label(): list(line.get_ydata()) for line in loss.get_lines()}
    assert lines == {"training": history.history["loss"], "validation": history.history["val_loss"]}
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == [
        "training",
        "validation",
    ]
    assert "3 epochs" in repr(history)
