"""A stand-in for cuBLASLt: NumPy computes what is asked for in descriptors.

It is called as the library is, through pointers. The numbers of attributes are those of cublasLt.h.
Where the library would compute in another order, because the algorithm or the way that operands lie
are others, its results differ in their last bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from jit import native
from jit.config import config
from jit.runtime import cublas, cublas_choice
from jit.runtime.cpu import host_target
from jit.runtime.cublas import ALIGNED
from tests.gpu.standin_driver import names, numbers, state, streams

DTYPES = {0: np.float32, 1: np.float64, 2: np.float16, 14: ml_dtypes.bfloat16}
KNOWN = {68: {0}, 77: {0}, 70: {1}}  # dtypes of scalars by what sums run in
INVALID, NOT_SUPPORTED = 7, 15
EPILOGUE, BIAS, RELU_BIAS = 7, 8, 6  # attributes of a product, and what the first may be
WORDS = 16 << 10  # bytes of an algorithm's workspace


class StandIn:
    """The library.

    Attributes:
        calls: Products in order: what was asked for.
        proposed: How many algorithms it proposes.
        fails: What its products give as status.
        wrong: The numbers of algorithms that leave out the last inner index.
        refused: The numbers of algorithms that do without epilogues only.
        quiet: Whether 0 takes the place of NaN where negative numbers are not stored.
    """

    def __init__(self) -> None:
        self.things: list[dict[Any, Any]] = [{}]
        self.calls: list[dict[str, Any]] = []
        self.proposed, self.fails = 3, 0
        self.wrong, self.refused, self.quiet = set[int](), set[int](), False
        self._kept: list[Any] = []
        self._job = next(numbers)
        names[self._job] = "cublasLtMatmul"
        state.functions["cublasLtMatmul"] = lambda words: self.compute(*self.calls[words[0]]["job"])
        for name, types in cublas.SIGNATURES.items():
            plain = [
                c_void_p if x not in (c_int, c_size_t, c_uint64, c_int64) else x for x in types
            ]
            made = ctypes.CFUNCTYPE(c_int, *plain)(getattr(self, name[8:]))
            setattr(self, name, made)
        self.cublasLtGetVersion = ctypes.CFUNCTYPE(c_size_t)(lambda: 130500)

    def new(self, out: int, **told: Any) -> int:
        self.things.append(told)
        c_void_p.from_address(out).value = len(self.things) - 1
        return 0

    def set(self, thing: int, attribute: int, value: int, size: int) -> int:
        kind = {4: c_int32, 8: c_int64}[size]
        self.things[thing][attribute] = kind.from_address(value).value
        return 0

    MatmulDescSetAttribute = MatrixLayoutSetAttribute = MatmulPreferenceSetAttribute = set
    Create = MatmulPreferenceCreate = new

    def MatmulDescCreate(self, out: int, sums: int, scale: int) -> int:  # noqa: N802 - its name
        return self.new(out, sums=sums, scale=scale)

    def MatrixLayoutCreate(self, out: int, kind: int, rows: int, columns: int, ld: int) -> int:  # noqa: N802
        assert ld >= rows > 0 < columns
        return self.new(out, kind=kind, rows=rows, columns=columns, ld=ld)

    def MatmulAlgoGetHeuristic(self, *given: int) -> int:  # noqa: N802
        *_, wanted, most, answers, count = given
        asked = self.things[wanted]
        assert asked[1] == 32 << 20
        assert {asked[k] for k in (5, 6, 7, 8)} == {16}
        found = min(self.proposed, most)
        for k in range(found):
            answer = cublas.Answer.from_address(answers + k * ctypes.sizeof(cublas.Answer))
            answer.algorithm[0], answer.workspace, answer.status = k + 1, k * WORDS, 0
        c_int.from_address(count).value = found
        return 0 if found else NOT_SUPPORTED

    def MatmulAlgoCheck(self, *given: int) -> int:  # noqa: N802
        _, operation, *_, algorithm, found = given
        words, told = c_uint64.from_address(algorithm).value, self.things[operation]
        assert told[BIAS] % 16 == 0 < told[BIAS], "an address to come is not known"
        answer = cublas.Answer.from_address(found)
        answer.workspace = (words - 1) * WORDS
        return NOT_SUPPORTED if words in self.refused else 0

    def Matmul(self, *given: int) -> int:  # noqa: N802
        _, operation, alpha, a, la, b, lb, beta, c, lc, d, ld, algorithm, room, size, stream = given
        told, scale = self.things[operation], self.things[operation]["scale"]
        number = {0: c_float, 1: c_double}[scale]
        one, zero = (number.from_address(x).value for x in (alpha, beta))
        assert (one, zero) == (1.0, 0.0)
        assert scale in KNOWN[told["sums"]]
        if self.fails or any(x % 16 for x in (a, b, c, d)) or (c, lc) != (d, ld):
            return self.fails or INVALID
        layouts = tuple([dict(self.things[x or 0]) for x in (la, lb, ld)])
        words = c_uint64.from_address(algorithm).value
        assert size == (words - 1) * WORDS
        job = (dict(told), *zip((a, b, d), layouts), words, room, size)
        self.calls.append({"told": told, "layouts": layouts, "algorithm": words, "job": job})
        launch = self._job, (1, 1, 1), (1, 1, 1), (len(self.calls) - 1,)
        captured = streams[stream or 0].captured
        if captured is not None:
            captured.append(launch)
        else:
            state.count("multiplied")
            self.compute(*job)
        return 0

    def compute(self, told: Any, a: Any, b: Any, d: Any, words: int, room: int, size: int) -> None:
        if size:
            ctypes.memset(room, 0x5A, size)  # nobody else may have anything there
        wide = np.float64 if told["scale"] else np.float32
        left, right = (self.matrix(*x).astype(wide) for x in (a, b))
        left, right = (x.mT if told.get(k) else x for x, k in ((left, 3), (right, 4)))
        if words in self.wrong:
            left, right = left[..., :-1], right[..., :-1, :]
        order = words + 3 * told.get(3, 0) + 5 * told.get(4, 0) + a[1]["ld"] + b[1]["ld"]
        with np.errstate(all="ignore"):
            result = np.matmul(left, right)
            result *= wide(1 + order % 16 * np.finfo(wide).eps)
            self.matrix(*d)[...] = self.followed(result, told, d[1])

    def followed(self, result: Any, told: Any, layout: Any) -> Any:
        """What an epilogue makes of products."""
        epilogue = told.get(EPILOGUE)
        if epilogue:
            vector = {"kind": layout["kind"], "rows": layout["rows"], "columns": 1}
            result = result + self.matrix(told[BIAS], {**vector, "ld": layout["rows"]})
        if epilogue == RELU_BIAS:
            result = np.fmax(result, 0) if self.quiet else np.maximum(result, 0)
        return result

    @staticmethod
    def matrix(address: int, layout: Any) -> np.ndarray[Any, Any]:
        """Matrices that lie column by column."""
        dtype, ld, batch = np.dtype(DTYPES[layout["kind"]]), layout["ld"], layout.get(5, 1)
        step, (rows, columns) = layout.get(6, 0), (layout["rows"], layout["columns"])
        size = ((batch - 1) * step + ld * (columns - 1) + rows) * dtype.itemsize
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype)
        strides = tuple([x * dtype.itemsize for x in (step, 1, ld)])
        return np.lib.stride_tricks.as_strided(raw, (batch, rows, columns), strides)


@contextmanager
def installed() -> Iterator[StandIn]:
    """A block in which the stand-in is the library, after `standin_kernels.installed`."""
    library = StandIn()
    before: tuple[Callable[[], Any], Any] = cublas.library, native.gpu_target
    cublas.handle.cache_clear()
    cublas_choice.forget()
    cublas.library = cublas_choice.library = lambda: library  # type: ignore[assignment]
    native.gpu_target = lambda number: replace(
        host_target(), products=config().precision, alignment=ALIGNED
    )
    try:
        yield library
    finally:
        cublas.library, native.gpu_target = before  # type: ignore[assignment]
        cublas_choice.library = cublas.library
        cublas.handle.cache_clear()
        cublas_choice.forget()


__name__ = "cupy"  # to a recording: whose code it skips
