"""F1 and the area under curves, beside their definitions, over batches and in both modes."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import in_mode

M = df.train.metrics
RANDOM = np.random.default_rng(2)
LABELS = RANDOM.integers(0, 3, 60)
SCORES = RANDOM.standard_normal((60, 3)) + 1.5 * np.eye(3)[LABELS]


def in_batches(metric, mode, y_true, y_pred):
    """The metric of three batches, of which the last is shorter."""
    update = in_mode(mode, lambda y, p: metric.update_state(y, p))
    for part in (slice(0, 25), slice(25, 50), slice(50, None)):
        update(df.asarray(y_true[part]), df.asarray(y_pred[part]))
    return metric.result().numpy()


def f1(truth, told):
    """By its definition, for yes and no."""
    right = np.sum(truth & told)
    return 2 * right / max(truth.sum() + told.sum(), 1)


def test_f1_of_yes_and_no(mode):
    truth, p = LABELS > 0, 1 / (1 + np.exp(-SCORES[:, 1:2]))
    wanted = f1(truth, p[:, 0] > 0.4)
    assert in_batches(M.F1Score(threshold=0.4), mode, truth, p) == pytest.approx(wanted)
    assert M.F1Score().result().item() == 0.0


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_f1_of_classes(mode, average):
    told = SCORES.argmax(1)
    each = np.array([f1(k == LABELS, k == told) for k in range(3)])
    often = np.bincount(LABELS) / 60
    wanted = {
        "macro": each.mean(),
        "micro": np.mean(told == LABELS),
        "weighted": (each * often).sum(),
        None: each,
    }[average]
    found = in_batches(M.F1Score(3, average), mode, LABELS, SCORES)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    one_hot = M.F1Score(3, average)
    one_hot.update_state(np.eye(3)[LABELS], SCORES)
    np.testing.assert_allclose(one_hot.result().numpy(), wanted, rtol=1e-9)


def test_area_under_roc_is_how_often_pairs_are_in_order(mode):
    truth, p = LABELS > 0, 1 / (1 + np.exp(-SCORES[:, 1]))
    yes, no = p[truth], p[~truth]
    wanted = np.mean(yes[:, None] > no)
    assert in_batches(M.AUC(5000), mode, truth, p) == pytest.approx(wanted, abs=2e-3)
    logits = M.AUC(5000, from_logits=True)
    logits.update_state(truth[:, None], SCORES[:, 1:2])
    assert logits.result().item() == pytest.approx(wanted, abs=2e-3)
    assert M.AUC().result().item() == 0.0


def test_area_under_precision(mode):
    """Known by hand: half of the found ones come without a false alarm, the rest among evenly."""
    truth, p = np.array([1, 1, 0, 1, 0, 1]) > 0, np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.5])
    found = in_batches(M.AUC(curve="PR"), mode, np.tile(truth, 10), np.tile(p, 10))
    steps = np.linspace(2, 4, 200_001)  # of found ones; as many false alarms come with them
    wanted = 0.5 + np.mean(steps / (2 * steps - 2)) / 2
    assert found == pytest.approx(wanted, rel=1e-5)


def test_words_and_mistakes():
    model = df.train.Model(df.nn.Sequential(df.nn.Linear(3, 1), df.nn.Sigmoid()))
    model.compile("adam", "binary_crossentropy", ["auc", "f1_score"], mode="eager")
    logs = model.evaluate(SCORES, LABELS > 0, return_dict=True)
    assert list(logs) == ["loss", "auc", "f1_score"]
    assert 0.0 <= logs["auc"] <= 1.0
    for call in (lambda: M.F1Score(average="mean"), lambda: M.AUC(curve="PRC"), lambda: M.AUC(1)):
        with pytest.raises(ValueError, match=r"average=|curve="):
            call()
