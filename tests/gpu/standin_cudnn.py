"""A stand-in for cuDNN's frontend: NumPy computes what is asked for in a graph of operations.

It is called as the frontend is. What one plan computes differs from what others do in its last
bits, as their orders of sums do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from jit import native
from jit.config import config
from jit.runtime import cuda, cudnn, cudnn_choice
from tests.gpu.standin_driver import names, numbers, state, streams

Types = Enum("Types", "NOT_SET FLOAT HALF BFLOAT16")  # pyright: ignore[reportCallIssue]
DTYPES = {Types.FLOAT: np.float32, Types.HALF: np.float16, Types.BFLOAT16: ml_dtypes.bfloat16}
Notes = Enum("Notes", [*cudnn.UNWANTED, cudnn.ROUNDING])  # pyright: ignore[reportCallIssue]
Modes = Enum("Modes", "A B FALLBACK")  # pyright: ignore[reportCallIssue]
WORDS = 16 << 10  # bytes of the second plan's workspace, and of each later one more
HANDLE = 77


class NotSupportedError(Exception):
    """As the frontend's, which is no RuntimeError."""


class Tensor:
    """What is read, or computed."""

    def __init__(self, **told: Any) -> None:
        self.told, self.made_by = told, ("", ())

    def __getattr__(self, name: str) -> Any:
        assert name.startswith("set_"), name
        return lambda value: self.told.update({name[4:]: value}) or self


class Graph:
    """A graph of operations with its plans; `library` tells what is wrong with them."""

    def __init__(self, library: StandIn, **told: Any) -> None:
        assert told["compute_data_type"] is told["intermediate_data_type"] is Types.FLOAT
        assert told["handle"] == HANDLE
        self.library, self.steps = library, list[str]()
        self.given: dict[int, Tensor] = {}
        self.last: Any = None
        self.unwanted: set[Any] = set()
        self.most = 0

    def tensor(self, **told: Any) -> Tensor:
        made = self.given[told["uid"]] = Tensor(**told)
        return made

    def _made(self, name: str, *given: Any, **at: Any) -> Tensor:
        self.last = Tensor()
        self.last.made_by = name, given, at
        return self.last

    def conv_fprop(self, image: Tensor, weight: Tensor, **at: Any) -> Tensor:
        return self._made("forward", image, weight, **at)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **at: Any) -> Tensor:
        return self._made("images", loss, filter, **at)

    def conv_wgrad(self, image: Tensor, loss: Tensor, **at: Any) -> Tensor:
        return self._made("filters", image, loss, **at)

    def bias(self, x: Tensor, b: Tensor) -> Tensor:
        return self._made("bias", x, b)

    def relu(self, x: Tensor) -> Tensor:
        return self._made("relu", x)

    def validate(self) -> None:
        self.steps.append("validate")

    def build_operation_graph(self) -> None:
        self.steps.append("build")

    def create_execution_plans(self, modes: Any) -> None:
        assert self.steps == ["validate", "build"]
        assert modes == [Modes.A, Modes.FALLBACK]

    def deselect_numeric_notes(self, notes: Any) -> None:
        self.unwanted = set(notes)

    def deselect_workspace_greater_than(self, size: int) -> None:
        self.most = size

    def check_support(self) -> None:
        if not self.library.proposed:
            raise NotSupportedError("no valid engine configs")

    def get_execution_plan_count(self) -> int:
        return self.library.proposed + 1

    def get_plan_name_at_index(self, number: int) -> str:
        return f"eng{number}_k2=0"

    def get_workspace_size_plan_at_index(self, number: int) -> int:
        return number * WORDS

    def build_plan_at_index(self, number: int) -> None:
        if number == self.library.proposed:  # one that was deselected
            raise NotSupportedError("deselected")
        self.library.built.append(number)

    def execute_plan_at_index(
        self, given: dict[int, int], workspace: int, number: int, handle: int
    ) -> None:
        assert handle == HANDLE
        self.library.run(self, dict(given), workspace, number)


class StandIn:
    """The library.

    Attributes:
        calls: Convolutions in order: kind, plan, what follows, and the notes that were unwanted.
        built: The numbers of plans that were built.
        proposed: How many plans it proposes.
        fails: Whether it fails when it is called.
        wrong: The numbers of plans that leave out the last channel of what they read.
        other: Whether plans with an epilogue compute in an order of their own.
    """

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []
        self.built: list[int] = []
        self.proposed, self.fails, self.other = 3, False, False
        self.wrong = set[int]()
        self._stream = 0
        self._job = next(numbers)
        names[self._job] = "cudnn"
        state.functions["cudnn"] = lambda words: self.compute(*self.calls[words[0]].job)
        self.module = SimpleNamespace(
            __version__="1.18.0",
            backend_version=lambda: 91900,
            data_type=Types,
            numerical_note=Notes,
            heur_mode=Modes,
            pygraph=lambda **told: Graph(self, **told),
            set_stream=self.set_stream,
        )

    def set_stream(self, handle: int, stream: int) -> None:
        assert handle == HANDLE
        self._stream = stream

    def run(self, graph: Graph, given: dict[int, int], workspace: int, number: int) -> None:
        if self.fails:
            raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
        assert all(address % 16 == 0 for address in given.values())
        epilogue, made_by = [], graph.last.made_by
        while made_by[0] in ("bias", "relu"):
            epilogue.insert(0, made_by[0])
            made_by = made_by[1][0].made_by
        job = graph, given, workspace, number, made_by, tuple(epilogue)
        told = {"kind": made_by[0], "plan": number, "epilogue": tuple(epilogue)}
        self.calls.append(SimpleNamespace(**told, unwanted=graph.unwanted, job=job))
        launch = self._job, (1, 1, 1), (1, 1, 1), (len(self.calls) - 1,)
        captured = streams[self._stream or 0].captured
        if captured is not None:
            captured.append(launch)
        else:
            state.count("convolved")
            self.compute(*job)

    def compute(
        self, graph: Graph, given: Any, workspace: int, number: int, made_by: Any, epilogue: Any
    ) -> None:
        if number:
            ctypes.memset(workspace, 0x5A, number * WORDS)  # nobody else may have anything there
        kind, operands, at = made_by
        first, second = (array_at(given[x.told["uid"]], x.told) for x in operands)
        result = array_at(given[cudnn.RESULT], graph.last.told)
        first, second = first.astype(np.float32), second.astype(np.float32)
        if number in self.wrong:
            first = first.copy()
            first[:, -1] = 0
        with np.errstate(all="ignore"):
            found = convolved(kind, first, second, result.shape, at)
            order = number + 3 * bool(epilogue) * self.other
            found *= np.float32(1 + order * np.finfo(np.float32).eps)
            for each in epilogue:
                if each == "bias":
                    told = graph.given[cudnn.BIAS].told
                    found = found + array_at(given[cudnn.BIAS], told).astype(np.float32)
                else:
                    found = np.maximum(found, np.float32(0))
            result[...] = found


def array_at(address: int, told: Any) -> Any:
    """What lies at an address, batch and channels first."""
    dtype, dims = np.dtype(DTYPES[told["data_type"]]), told["dim"]
    size = sum((n - 1) * step for n, step in zip(dims, told["stride"])) + 1
    raw = (ctypes.c_uint8 * (size * dtype.itemsize)).from_address(address)
    strides = [step * dtype.itemsize for step in told["stride"]]
    flat = np.ctypeslib.as_array(raw).view(dtype)
    return np.lib.stride_tricks.as_strided(flat, dims, strides)


def convolved(kind: str, first: Any, second: Any, shape: Any, at: Any) -> Any:
    """A convolution, or what flows back in one, tap by tap."""
    made = np.zeros(shape, np.float32)
    images, filters, results = {
        "forward": (first, second, made),
        "images": (made, second, first),
        "filters": (first, made, second),
    }[kind]
    around = [(0, 0), (0, 0), *zip(at["pre_padding"], at["post_padding"])]
    padded, groups = np.pad(images, around), images.shape[1] // filters.shape[1]
    parts = padded.reshape(len(padded), groups, -1, *padded.shape[2:])
    weights = filters.reshape(groups, -1, *filters.shape[1:])
    sums = results.reshape(len(results), groups, -1, *results.shape[2:])
    for tap in np.ndindex(*filters.shape[2:]):
        cut = tuple(
            slice(r * d, r * d + (p - 1) * s + 1, s)
            for r, p, s, d in zip(tap, results.shape[2:], at["stride"], at["dilation"])
        )
        window, weight = parts[(..., *cut)], weights[(..., *tap)]
        if kind == "forward":
            sums += np.einsum("ngc...,goc->ngo...", window, weight)
        elif kind == "images":
            window += np.einsum("ngo...,goc->ngc...", sums, weight)
        else:
            flat = [x.reshape(*x.shape[:3], -1) for x in (window, sums)]
            weight += np.einsum("ngcp,ngop->goc", *flat)
    if kind == "images":
        inner = [slice(low, low + n) for low, n in zip(at["pre_padding"], images.shape[2:])]
        return padded[(slice(None), slice(None), *inner)]
    return made


@contextmanager
def installed() -> Iterator[StandIn]:
    """A block in which the stand-in is the library, after `standin_kernels.installed`."""
    library, before = StandIn(), (cudnn.frontend, cudnn.handle, native.gpu_target)
    plain = native.gpu_target
    cudnn_choice.forget()
    for module in (cudnn, cudnn_choice, cuda):
        module.frontend = lambda: library.module  # type: ignore[assignment]
    cudnn.handle = lambda device: HANDLE  # type: ignore[assignment]
    native.gpu_target = lambda number: replace(plain(number), convolutions=config().precision)
    try:
        yield library
    finally:
        cudnn.frontend, cudnn.handle, native.gpu_target = before  # type: ignore[assignment]
        cudnn_choice.frontend = cuda.frontend = cudnn.frontend
        cudnn_choice.forget()


__name__ = "cupy"  # to a recording: whose code it skips
