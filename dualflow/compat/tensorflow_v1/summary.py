"""`tf.summary`: what a session computes for TensorBoard, and the writer of it."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow_v1.collected import GraphKeys, add_to_collection, get_collection
from dualflow.compat.translate import hints

Summary = dict[str, Any]  # by kind and tag; a session computes it as any nest


def told(kind: str, tag: str, tensor: Any) -> Summary:
    """A summary of one tensor, in the collection that `merge_all` takes."""
    made = {f"{kind}:{df.graph.get_default_graph().scope}{tag}": tensor}
    add_to_collection(GraphKeys.SUMMARIES, made)
    return made


def scalar(name: str, tensor: Any, **_: Any) -> Summary:
    """A number."""
    return told("scalar", name, tensor)


def histogram(name: str, values: Any, **_: Any) -> Summary:
    """How values are spread."""
    return told("histogram", name, values)


def image(name: str, tensor: Any, max_outputs: int = 3, **_: Any) -> Summary:
    """Pictures (n, h, w, channels), of which some are shown."""
    return told("image", f"{name}:{max_outputs}", df.permute_dims(tensor, (0, 3, 1, 2)))


def merge(inputs: Any, **_: Any) -> Summary:
    """Several summaries as one."""
    return {tag: tensor for each in inputs for tag, tensor in each.items()}


def merge_all(key: str = GraphKeys.SUMMARIES, **_: Any) -> Summary | None:
    """All summaries of the default graph as one; None where there is none."""
    return merge(get_collection(key)) or None


class FileWriter:
    """Writes summaries into a folder.

    Args:
        logdir: The folder.
        graph: The graph, to be shown; None: none.
    """

    def __init__(self, logdir: Any, graph: Any = None, **_: Any) -> None:
        self._events = df.io.EventWriter(logdir)
        if graph is not None:
            self.add_graph(graph)

    def add_summary(self, summary: Summary, global_step: Any = 0) -> None:
        """Writes what a session has computed.

        Args:
            summary: What `session.run(merged)` gave.
            global_step: The step.
        """
        for name, value in summary.items():
            kind, _, tag = name.partition(":")
            if kind != "image":
                getattr(self._events, kind)(tag, value, int(global_step))
                continue
            tag, _, most = tag.rpartition(":")
            for k, picture in enumerate(value[: int(most)]):
                self._events.image(f"{tag}/{k}", picture, int(global_step))

    def add_graph(self, graph: Any, global_step: Any = None) -> None:
        """Writes a graph."""
        del global_step
        self._events.graph(graph.trace.graph)

    def flush(self) -> None:
        """Writes what is left."""
        self._events.flush()

    def close(self) -> None:
        """Ends."""
        self._events.close()


__getattr__ = hints("tensorflow_v1.summary")
