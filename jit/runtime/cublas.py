"""cuBLASLt, by ctypes: products of matrices by NVIDIA's library, as launches on a stream.

    multiply = Multiply(Product("float32", "float32", (1, 64, 100, 1000)), device)
    algorithm, *others = multiply.algorithms()
    multiply(algorithm, left, right, result, workspace, stream=stream)       # addresses

The library counts along columns where our memory goes along rows, so that it sees every matrix
transposed: it is asked for right^T left^T, which is the transposed result. Sums of half precision
run in float32, and parts of a sum are added in the dtype that it runs in, in an order that is
always the same.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import threading
from collections.abc import Iterator
from ctypes import POINTER, byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache
from typing import Any

from jit.dataclass import dataclass
from jit.runtime.wheels import libraries

WHEELS = ("nvidia-cublas", "nvidia-cublas-cu12")
NAME = re.compile(r"libcublasLt\.so\.\d+")
SONAMES = ("libcublasLt.so.13", "libcublasLt.so.12")
WORKSPACE = 32 << 20  # bytes that an algorithm may ask for
CANDIDATES = 8
ALIGNED = 16  # what all addresses are multiples of

# The library's numbers: of dtypes, of what sums run in, of attributes.
DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
SUMS = {"float32": 68, "tf32": 77, "float64": 70}
TURNED_A, TURNED_B, EPILOGUE, BIAS = 3, 4, 7, 8  # of a product
BATCH, BATCH_STRIDE = 5, 6  # of a matrix
MOST_WORKSPACE, REDUCTION, ALIGNMENTS = 1, 3, (5, 6, 7, 8)  # of what is asked for
IN_DTYPE_OF_SUMS = 2  # how parts of a sum are added
EPILOGUES = {"bias": 4, "bias_relu": 6}  # what becomes of each element; see `Product`


class Answer(ctypes.Structure):
    """An algorithm that the library proposes."""

    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("status", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


MATMUL = [c_void_p] * 14 + [c_size_t, c_void_p]
SIGNATURES: dict[str, list[Any]] = {
    "cublasLtCreate": [POINTER(c_void_p)],
    "cublasLtMatmulDescCreate": [POINTER(c_void_p), c_int, c_int],
    "cublasLtMatmulDescSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatrixLayoutCreate": [POINTER(c_void_p), c_int, c_uint64, c_uint64, c_int64],
    "cublasLtMatrixLayoutSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatmulPreferenceCreate": [POINTER(c_void_p)],
    "cublasLtMatmulPreferenceSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "cublasLtMatmulAlgoGetHeuristic": [c_void_p] * 7 + [c_int, c_void_p, POINTER(c_int)],
    "cublasLtMatmulAlgoCheck": [c_void_p] * 8,
    "cublasLtMatmul": MATMUL,
}


@cache
def library() -> Any | None:
    """cuBLASLt, of its wheel or of the system; None where there is none."""
    for path in paths():
        try:
            found = ctypes.CDLL(path)
        except OSError:
            continue
        return declared(found)
    return None


def paths() -> Iterator[str]:
    """Where the library may be."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        yield pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path
    except Exception:  # it is not installed, or finds nothing, and says so in its own ways
        pass
    yield from libraries(WHEELS, NAME)
    yield from SONAMES


def declared(found: Any) -> Any:
    """A library whose functions know their arguments."""
    for name, arguments in SIGNATURES.items():
        getattr(found, name).argtypes = arguments
    found.cublasLtGetVersion.restype = c_size_t
    return found


def demand(name: str, *arguments: Any) -> None:
    """Calls a function of the library.

    Raises:
        RuntimeError: It fails.
    """
    if status := getattr(library(), name)(*arguments):
        raise RuntimeError(f"{name}: cuBLAS status {status}")


def version() -> int:
    """Which cuBLASLt it is."""
    found = library()
    return 0 if found is None else found.cublasLtGetVersion()


@cache
def handle(device: int) -> c_void_p:
    """What the library keeps for a device, which is active."""
    del device
    made = c_void_p()
    demand("cublasLtCreate", byref(made))
    return made


@dataclass(frozen=True)
class Product:
    """Products of matrices, by numbers.

    Attributes:
        dtype: Of all elements.
        precision: In which elements of float32 are multiplied: "float32", "tf32".
        sizes: How many products, rows, columns, inner indices.
        turned: Of each operand whether it lies transposed.
        shared: Of each operand whether there is one for the whole batch.
        epilogue: What becomes of each element before it is stored: "", "bias": an element of its
            column is added, "bias_relu": and then 0 takes the place of what is negative.
    """

    dtype: str
    precision: str
    sizes: tuple[int, int, int, int]
    turned: tuple[bool, bool] = (False, False)
    shared: tuple[bool, bool] = (False, False)
    epilogue: str = ""

    @property
    def elements(self) -> tuple[int, int, int]:
        """How many elements the operands and the result have."""
        batch, rows, columns, inner = self.sizes
        left, right = [1 if shared else batch for shared in self.shared]
        return left * rows * inner, right * inner * columns, batch * rows * columns


@dataclass(frozen=True)
class Algorithm:
    """How the library computes a product.

    Attributes:
        words: The library's description, which is good for this version of it only.
        workspace: How many bytes it needs beside the arrays.
    """

    words: bytes
    workspace: int


class Multiply:
    """A product that the library can compute.

    Args:
        product: What is computed.
        device: The number of the active device.
    """

    def __init__(self, product: Product, device: int) -> None:
        self.product = product
        batch, rows, columns, inner = product.sizes
        kind, double = DTYPES[product.dtype], product.dtype == "float64"
        sums = product.dtype if double else product.precision if kind == 0 else "float32"
        one = ctypes.c_double if double else c_float
        self._one, self._zero = one(1.0), one(0.0)
        self._handle, self._operation = handle(device), c_void_p()
        scale = DTYPES["float64" if double else "float32"]
        demand("cublasLtMatmulDescCreate", byref(self._operation), SUMS[sums], scale)
        for attribute, turned in zip((TURNED_B, TURNED_A), product.turned, strict=True):
            self._set("MatmulDesc", self._operation, attribute, c_int32(turned))
        shapes = (rows, inner), (inner, columns), (rows, columns)
        each = zip(shapes, (*product.turned, False), (*product.shared, False), strict=True)
        self._left, self._right, self._result = [
            self._layout(kind, (n, m) if turned else (m, n), batch, shared=shared)
            for (m, n), turned, shared in each
        ]
        self._lock = threading.Lock()  # the library keeps the address of a bias in the operation
        if product.epilogue:
            number = c_int32(EPILOGUES[product.epilogue])
            self._set("MatmulDesc", self._operation, EPILOGUE, number)
        self._run = library().cublasLtMatmul  # type: ignore[union-attr]

    @property
    def epilogue(self) -> str:
        """What becomes of each element."""
        return self.product.epilogue

    def _layout(self, kind: int, shape: tuple[int, int], batch: int, *, shared: bool) -> c_void_p:
        """A matrix, of a batch or shared by it: our rows are the library's columns."""
        layout, (rows, columns) = c_void_p(), shape
        demand("cublasLtMatrixLayoutCreate", byref(layout), kind, columns, rows, columns)
        if batch > 1:
            step = 0 if shared else rows * columns
            self._set("MatrixLayout", layout, BATCH, c_int32(batch))
            self._set("MatrixLayout", layout, BATCH_STRIDE, c_int64(step))
        return layout

    @staticmethod
    def _set(what: str, thing: c_void_p, attribute: int, value: Any) -> None:
        size = ctypes.sizeof(value)
        demand(f"cublasLt{what}SetAttribute", thing, attribute, byref(value), size)

    def algorithms(self) -> list[Algorithm]:
        """What the library proposes, the best first by its own estimate."""
        wanted, count = c_void_p(), c_int()
        demand("cublasLtMatmulPreferenceCreate", byref(wanted))
        self._set("MatmulPreference", wanted, MOST_WORKSPACE, c_uint64(WORKSPACE))
        self._set("MatmulPreference", wanted, REDUCTION, c_int32(IN_DTYPE_OF_SUMS))
        for attribute in ALIGNMENTS:
            self._set("MatmulPreference", wanted, attribute, c_int32(ALIGNED))
        answers = (Answer * CANDIDATES)()
        given = self._handle, self._operation, self._right, self._left, self._result, self._result
        asked = library().cublasLtMatmulAlgoGetHeuristic  # type: ignore[union-attr]
        if asked(*given, wanted, CANDIDATES, byref(answers), byref(count)):
            return []  # it knows none
        known = [answer for answer in answers[: count.value] if answer.status == 0]
        return [Algorithm(bytes(x.algorithm), x.workspace) for x in known]

    def admitted(self, algorithm: Algorithm) -> Algorithm | None:
        """An algorithm of the product alone, if it does with the epilogue as well."""
        found = Answer()
        self._set("MatmulDesc", self._operation, BIAS, c_void_p(ALIGNED))  # as all addresses are
        given = self._handle, self._operation, self._right, self._left, self._result, self._result
        asked = library().cublasLtMatmulAlgoCheck  # type: ignore[union-attr]
        if asked(*given, algorithm.words, byref(found)) or found.status:
            return None
        return Algorithm(algorithm.words, found.workspace)

    def __call__(self, algorithm: Algorithm, *addresses: int, stream: int) -> None:
        """Puts the product on a stream.

        Args:
            algorithm: How it is computed.
            *addresses: Of the operands, the result, the workspace, and the bias, if there is one.
            stream: The driver's number.

        Raises:
            RuntimeError: The library refuses.
        """
        if not self.product.epilogue:
            return self._put(algorithm, *addresses, stream=stream)
        *others, bias = addresses
        with self._lock:
            self._set("MatmulDesc", self._operation, BIAS, c_void_p(bias))
            self._put(algorithm, *others, stream=stream)

    def _put(
        self, algorithm: Algorithm, left: int, right: int, result: int, workspace: int, stream: int
    ) -> None:
        status = self._run(
            *(self._handle, self._operation, byref(self._one), right, self._right, left),
            *(self._left, byref(self._zero), result, self._result, result, self._result),
            *(algorithm.words, workspace, algorithm.workspace, stream),
        )
        if status:
            raise RuntimeError(f"cublasLtMatmul: cuBLAS status {status}")

    def words(self) -> list[int]:
        """The library's function and what it is given, but for addresses and the algorithm.

        A product with a bias has none: its address is told to the library before.
        """
        function = ctypes.cast(self._run, c_void_p).value or 0
        one, zero = map(ctypes.addressof, (self._one, self._zero))
        known = self._handle, self._operation, self._right, self._left, self._result
        handle, operation, right, left, result = [x.value or 0 for x in known]
        return [function, handle, operation, one, right, left, zero, result]
