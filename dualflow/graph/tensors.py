"""What tensors of a graph can do beside those with values; and which session is the default one."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from jit.dims import Dim
from jit.errors import TraceError

if TYPE_CHECKING:
    from dualflow.graph.session import Session

current: ContextVar[Session | None] = ContextVar("default session", default=None)


def get_default_session() -> Session | None:
    """The session that `eval` and `run` use, that of the `with` around, if there is one."""
    return current.get()


def session_for(session: Session | None, what: str) -> Session:
    """A session that was given, or the default one.

    Raises:
        TraceError: There is none.
    """
    found = session or current.get()
    if found is None:
        raise TraceError(
            f"{what}: there is no default session",
            "a call inside of `with df.graph.Session() as session:`",
            f"{what}(session=session)",
        )
    return found


class Shape(tuple[Any, ...]):
    """The extents of a symbolic tensor, with what TensorFlow's shapes can do."""

    __slots__ = ()

    def as_list(self) -> list[int | None]:
        """The extents; None for open ones."""
        return [None if isinstance(extent, Dim) else extent for extent in self]


def value_of(tensor: Any, feed_dict: Any = None, session: Session | None = None) -> Any:
    """The value of a tensor of a graph, as `session.run` gives it: `tensor.eval()`.

    Args:
        tensor: It.
        feed_dict: What to feed.
        session: The default one when None.

    Raises:
        TraceError: There is no session, or a placeholder was not fed.
    """
    return session_for(session, "eval").run(tensor, feed_dict)


def shape_of(tensor: Any) -> Shape:
    """The extents of a tensor, as TensorFlow's programs ask for them: `tensor.get_shape()`."""
    return Shape(tensor.shape)
