"""Looking at graphs: text with a summary, and pictures for Graphviz."""

from __future__ import annotations

import json
from collections import Counter

from jit.ir.graph import Graph
from jit.ir.printer import format_static, value_names

LONGEST_ATTR = 24


def show(graph: Graph) -> str:
    """The text of `graph`, and below it how many nodes each op has, the most frequent first."""
    counts = Counter(node.op.name for node in graph.nodes)
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"{graph}\n# {len(graph.nodes)} nodes: {listed or 'none'}"


def dot(graph: Graph) -> str:
    """`graph` in the language of Graphviz: an ellipse for each input, a box for each node."""
    names = value_names(graph)
    lines = [f"digraph {json.dumps(graph.name)} {{", "  node [fontname=monospace]"]
    lines += [
        f"  {_quoted(names[value])} [label={_quoted(f'{names[value]}: {value.type}')}]"
        for value in graph.inputs
    ]
    origin = {value: names[value] for value in graph.inputs}
    for number, node in enumerate(graph.nodes):
        name = f"node{number}"
        origin.update(dict.fromkeys(node.outputs, name))
        attrs = [f"{key}={_short(format_static(attr))}" for key, attr in node.attrs.items()]
        results = [f"{names[value]}: {value.type}" for value in node.outputs]
        label = "\n".join([node.op.name, *attrs, *results, *filter(None, [node.source])])
        lines.append(f"  {name} [shape=box, label={_quoted(label)}]")
        lines += [f"  {_quoted(origin[value])} -> {name}" for value in node.inputs]
    lines.append("  return [shape=plaintext]")
    lines += [f"  {_quoted(origin[value])} -> return" for value in graph.outputs]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_ATTR else f"{text[: LONGEST_ATTR - 3]}..."
