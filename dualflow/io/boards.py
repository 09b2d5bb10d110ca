"""Event files for TensorBoard: scalars, histograms, images, texts, graphs, hyperparameters."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

import jit
from dualflow.core.convert import as_tensor
from dualflow.core.files import FilePath, extra
from jit.dims import Dim
from jit.ir.graph import Value

PROTO = "tensorboard.compat.proto"
FIRST, LAST = (1, 3), (1, 3, 4)  # how many channels a picture may have, and where


class EventWriter:
    """Writes what TensorBoard shows into a folder: `tensorboard --logdir runs`.

    Args:
        logdir: The folder of this run.

    Example:
        >>> import dualflow as df
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, df.io.EventWriter(folder) as writer:
        ...     writer.scalar("loss", 0.5, step=1)
    """

    def __init__(self, logdir: FilePath) -> None:
        writers = extra("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self._events = extra(f"{PROTO}.event_pb2", "tensorboard")
        self._summaries = extra(f"{PROTO}.summary_pb2", "tensorboard")
        self._writer = writers.EventFileWriter(str(logdir))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def flush(self) -> None:
        """Makes what was written so far visible."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()

    # ----- what is shown -----

    def scalar(self, tag: str, value: Any, step: int) -> None:
        """A number.

        Args:
            tag: What it is; "train/loss" is shown under "train".
            value: It.
            step: When.
        """
        self._add(step, tag=tag, simple_value=float(value))

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Several numbers."""
        for tag, value in values.items():
            self.scalar(tag, value, step)

    def histogram(self, tag: str, values: Any, step: int, bins: int = 30) -> None:
        """How values are spread.

        Args:
            tag: What they are.
            values: A tensor of any shape.
            step: When.
            bins: Intervals of equal width; infinite and undefined values are left out.
        """
        flat = np.asarray(as_tensor(values), np.float64).ravel()
        flat = flat[np.isfinite(flat)]
        counts, edges = np.histogram(flat, bins)
        histogram = self._summaries.HistogramProto(
            min=flat.min(initial=np.inf),
            max=flat.max(initial=-np.inf),
            num=len(flat),
            sum=flat.sum(),
            sum_squares=(flat * flat).sum(),
            bucket_limit=edges[1:].tolist(),
            bucket=counts.tolist(),
        )
        self._add(step, tag=tag, histo=histogram)

    def image(self, tag: str, image: Any, step: int) -> None:
        """A picture.

        Args:
            tag: What it is.
            image: (height, width), or with 1 or 3 channels first, or else 1, 3 or 4 last, of
                which the fourth is opacity; floats from 0 to 1, or uint8.
            step: When.

        Raises:
            ValueError: Another shape.
        """
        pillow = extra("PIL.Image", "io")
        pixels = pixels_of(tag, np.asarray(as_tensor(image)))
        stream = io.BytesIO()
        pillow.fromarray(pixels).save(stream, format="PNG")
        height, width, *channels = pixels.shape
        proto = self._summaries.Summary.Image(
            height=height,
            width=width,
            colorspace=channels[0] if channels else 1,
            encoded_image_string=stream.getvalue(),
        )
        self._add(step, tag=tag, image=proto)

    def figure(self, tag: str, figure: Any, step: int) -> None:
        """A figure of matplotlib, as a picture."""
        agg = extra("matplotlib.backends.backend_agg", "bench")
        canvas = agg.FigureCanvasAgg(figure)
        canvas.draw()
        self.image(tag, np.asarray(canvas.buffer_rgba()), step)

    def text(self, tag: str, text: str, step: int) -> None:
        """A text, in which Markdown is shown as such."""
        plugin = extra("tensorboard.plugins.text.summary_v2", "tensorboard")
        self._write(plugin.text_pb(tag, text), step)

    def graph(self, graph: jit.Graph) -> None:
        """A graph: one of `f.graphs`, or `df.graph.get_default_graph().of(...)`."""
        event = self._events.Event(wall_time=time.time())
        event.graph_def = graph_def(graph).SerializeToString()
        self._writer.add_event(event)

    def hyperparameters(self, values: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """What a run was made with, and what came of it; runs are compared by both.

        Args:
            values: Names and numbers, texts or truth values.
            metrics: Names and numbers, which are written as scalars of step 0.
        """
        hparams = extra("tensorboard.plugins.hparams.summary_v2", "tensorboard")
        self._write(hparams.hparams_pb(dict(values)), 0)
        self.scalars(metrics, 0)

    # ----- how -----

    def _add(self, step: int, **value: Any) -> None:
        summary = self._summaries.Summary(value=[self._summaries.Summary.Value(**value)])
        self._write(summary, step)

    def _write(self, summary: Any, step: int) -> None:
        event = self._events.Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)


def pixels_of(tag: str, image: Any) -> Any:
    """A picture as uint8 of shape (height, width), or with channels last.

    Raises:
        ValueError: Another shape.
    """
    if image.dtype != np.uint8:
        image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    if image.ndim == 3 and image.shape[0] in FIRST:
        image = image.transpose(1, 2, 0)
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] in LAST):
        return image[..., 0] if image.shape[2:] == (1,) else image
    raise ValueError(f"image {tag}: shape {image.shape} is none of a picture")


def graph_def(graph: jit.Graph) -> Any:
    """A graph as TensorBoard takes it."""
    found = extra(f"{PROTO}.graph_pb2", "tensorboard").GraphDef()
    names: dict[Value, str] = {}
    for k, value in enumerate(graph.inputs):
        names[value] = value.name or f"input_{k}"
        describe(found.node.add(name=names[value], op="Placeholder"), [value], str(value.type))
    for k, node in enumerate(graph.nodes):
        name = f"{node.op.name}_{k}"
        inputs = [names[value] for value in node.inputs]
        describe(
            found.node.add(name=name, op=node.op.name, input=inputs),
            node.outputs,
            node.source or "",
        )
        for index, value in enumerate(node.outputs):
            names[value] = name if index == 0 else f"{name}:{index}"
    return found


def describe(made: Any, outputs: Sequence[Value], label: str) -> None:
    """Adds to a node the shapes of its outputs, and the user's line or a type as a label."""
    attributes = extra(f"{PROTO}.attr_value_pb2", "tensorboard")
    shapes = extra(f"{PROTO}.tensor_shape_pb2", "tensorboard")
    made.attr["label"].CopyFrom(attributes.AttrValue(s=label.encode()))
    listed = attributes.AttrValue.ListValue()
    for value in outputs:
        extents = [-1 if isinstance(n, Dim) else n for n in value.type.shape]
        dims = [shapes.TensorShapeProto.Dim(size=n) for n in extents]
        listed.shape.append(shapes.TensorShapeProto(dim=dims))
    made.attr["_output_shapes"].CopyFrom(attributes.AttrValue(list=listed))
