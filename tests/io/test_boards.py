"""Event files: what is written is what TensorBoard's own reader reads."""

from __future__ import annotations

import io

import numpy as np
import pytest

import dualflow as df
from dualflow.compat.torch.utils.tensorboard import SummaryWriter
from tests.modes import graphs_only
from tests.train.test_fit import C, model_of, points

reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder):
    sizes = dict.fromkeys(("scalars", "histograms", "images", "graph"), 0)
    return reader.EventAccumulator(str(folder), sizes).Reload()


def test_scalars_histograms_images(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    picture = np.zeros((3, 4, 5), np.float32)
    picture[0, 1, 2] = 1.0
    with df.io.EventWriter(tmp_path) as writer:
        for step in range(3):
            writer.scalars({"a/loss": 1.0 / (step + 1)}, step)
        writer.histogram("weights", df.asarray([0.0, 1.0, 1.0, 4.0, float("nan")]), 7, bins=4)
        writer.image("colours", picture, 1)
        writer.image("grey", df.ones((1, 2, 2)), 1)
        writer.hyperparameters({"lr": 0.1, "net": "small"}, {"accuracy": 0.9})
        with pytest.raises(ValueError, match=r"shape \(2, 3, 5\)"):
            writer.image("none", df.ones((2, 3, 5)), 1)
    events = read(tmp_path)
    assert [e.step for e in events.Scalars("a/loss")] == [0, 1, 2]
    assert [e.value for e in events.Scalars("a/loss")] == [1.0, 0.5, np.float32(1 / 3)]
    histogram = events.Histograms("weights")[0].histogram_value
    assert (histogram.min, histogram.max, histogram.num, histogram.sum) == (0.0, 4.0, 4, 6.0)
    assert list(histogram.bucket) == [1, 2, 0, 1]
    shown = events.Images("colours")[0]
    assert (shown.width, shown.height) == (5, 4)
    with pillow.open(io.BytesIO(shown.encoded_image_string)) as image:
        assert np.asarray(image)[1, 2].tolist() == [255, 0, 0]
    assert events.Scalars("accuracy")[0].value == np.float32(0.9)
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    assert metadata.plugin_data.plugin_name == "hparams"


def test_what_programs_for_pytorch_write(tmp_path):
    figures, pillow = pytest.importorskip("matplotlib.figure"), pytest.importorskip("PIL.Image")
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[1, 2, 0] = 255
    figure = figures.Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])
    with SummaryWriter(log_dir=tmp_path) as writer:
        writer.add_scalar("loss", df.asarray(0.5), 3)
        writer.add_scalars("all", {"a": 1, "b": 2.0}, global_step=1)
        writer.add_histogram("w", df.ones(4), 1, bins="auto")
        writer.add_image("last", picture, 1, dataformats="HWC")
        writer.add_image("one", picture[..., :1], 1)
        writer.add_figure("figure", figure, 1)
        writer.add_text("note", "*well*", 2)
        writer.add_hparams({"lr": 0.1}, {"accuracy": 0.9})
        writer.add_graph(df.nn.Linear(3, 2), df.ones((1, 3)))
    events = read(tmp_path)
    assert set(events.Tags()["scalars"]) == {"loss", "all/a", "all/b", "accuracy"}
    assert (events.Scalars("loss")[0].step, events.Scalars("loss")[0].value) == (3, 0.5)
    sizes = [(e.width, e.height) for t in ("last", "figure") for e in events.Images(t)]
    assert sizes == [(5, 4), (100, 50)]
    with pillow.open(io.BytesIO(events.Images("last")[0].encoded_image_string)) as image:
        assert np.asarray(image)[1, 2].tolist() == [255, 0, 0]
    assert events.Tensors("note")[0].tensor_proto.string_val[0] == b"*well*"
    assert "matmul" in {node.op for node in events.Graph().node}


def test_graphs(tmp_path):
    with df.graph.Graph().as_default() as graph:
        x = df.graph.placeholder("float32", (None, 3), "x")
        part = graph.of(df.sort(df.exp(x), axis=1).sum())
    with df.io.EventWriter(tmp_path) as writer:
        writer.graph(part)
    nodes = read(tmp_path).Graph().node
    assert [(node.op, list(node.input)) for node in nodes][:2] == [
        ("Placeholder", []),
        ("exp", ["x"]),
    ]
    shape = nodes[1].attr["_output_shapes"].list.shape[0]
    assert [dim.size for dim in shape.dim] == [-1, 3]
    assert b"test_boards.py" in nodes[1].attr["label"].s


@graphs_only
def test_the_callback(tmp_path):
    x, y = points()
    model = model_of("compiled")
    board = C.TensorBoard(tmp_path, histogram_freq=2, update_freq=5, write_graph=True)
    history = model.fit(x, y, batch_size=8, epochs=3, callbacks=[board])
    events = read(tmp_path)
    losses = [e.value for e in events.Scalars("epoch/loss")]
    assert losses == [np.float32(value) for value in history.history["loss"]]
    assert [e.step for e in events.Scalars("batch/accuracy")] == [5, 10, 15, 20]
    assert [e.step for e in events.Histograms("0.weight")] == [0, 2]
    assert events.Scalars("epoch/learning_rate")[0].value == np.float32(0.001)
    assert {"matmul", "Placeholder"} <= {node.op.split("_")[0] for node in events.Graph().node}


def test_each_batch_by_word(tmp_path):
    x, y = points()
    board = C.TensorBoard(tmp_path, update_freq="batch")
    model_of("eager").fit(x, y, batch_size=25, epochs=2, callbacks=board)
    assert [e.step for e in read(tmp_path).Scalars("batch/loss")] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="update_freq='step'"):
        C.TensorBoard(tmp_path, update_freq="step")
