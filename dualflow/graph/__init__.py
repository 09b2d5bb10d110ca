"""Static graphs by hand, as programs for TensorFlow 1 are written: first built, then run.

Placeholders and graph variables are symbolic tensors: every op that meets one appends a node to its
graph, and computes nothing. A `Session` feeds placeholders and runs what is asked for, compiled;
`y.eval({x: 1.0})` asks the session of the `with` around. The graph is the one that `@df.function`
records, so it prints and compiles in the same way.

Example:
    >>> import dualflow as df
    >>> with df.graph.Graph().as_default():
    ...     x = df.graph.placeholder("float32", shape=(3,), name="x")
    ...     y = (x * x).sum()
    ...     (slope,) = df.graph.gradients(y, [x])
    ...     with df.graph.Session() as session:
    ...         session.run([y, slope], feed_dict={x: [1.0, 2.0, 3.0]})
    [np.float32(14.0), array([2., 4., 6.], dtype=float32)]
"""

from __future__ import annotations

from dualflow.graph.build import (
    Graph,
    generator,
    get_default_graph,
    gradients,
    name_scope,
    placeholder,
    placeholder_with_default,
    reset_default_graph,
)
from dualflow.graph.control import cond, while_loop
from dualflow.graph.rendering import apply, render
from dualflow.graph.session import InteractiveSession, Session
from dualflow.graph.state import (
    GraphVariable,
    Operation,
    assign,
    assign_add,
    assign_sub,
    control_dependencies,
    global_variables,
    global_variables_initializer,
    group,
)
from dualflow.graph.tensors import get_default_session

__all__ = [
    "Graph",
    "GraphVariable",
    "InteractiveSession",
    "Operation",
    "Session",
    "apply",
    "assign",
    "assign_add",
    "assign_sub",
    "cond",
    "control_dependencies",
    "generator",
    "get_default_graph",
    "get_default_session",
    "global_variables",
    "global_variables_initializer",
    "gradients",
    "group",
    "name_scope",
    "placeholder",
    "placeholder_with_default",
    "render",
    "reset_default_graph",
    "while_loop",
]
