"""cuDNN, by its frontend for Python: convolutions by NVIDIA's library, as launches on a stream.

    convolve = Convolve(Convolving(convolution, "float32", "tf32"), device)
    plan, *others = convolve.plans()
    convolve(plan, first, second, result, workspace, stream=stream)          # addresses

Channels come last in all that it reads and writes. Plans whose results differ from run to run are
left out, and those that transform what they multiply, or round sums: what is left computes sums of
products, in float32.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

from jit.dataclass import dataclass
from jit.ir.convolution import FILTERS, FORWARD, Convolution, Extents

WORKSPACE = 256 << 20  # bytes that a plan may ask for
CANDIDATES = 12
UNWANTED = (  # the library's notes on plans
    "NONDETERMINISTIC",
    "DOWN_CONVERT_INPUTS",
    "REDUCED_PRECISION_REDUCTION",
    "FFT",
    "WINOGRAD",
    "WINOGRAD_TILE_4x4",
    "WINOGRAD_TILE_6x6",
    "WINOGRAD_TILE_13x13",
)
ROUNDING = "TENSOR_CORE"  # and on those that multiply float32 in TF32
DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
FIRST, SECOND, RESULT, BIAS = range(1, 5)  # numbers of tensors
NEEDED = "create_execution_plans deselect_numeric_notes build_plan_at_index execute_plan_at_index"


@cache
def frontend() -> ModuleType | None:
    """The module, with the library behind it; None where one of them is missing, or too old."""
    try:
        module = importlib.import_module("cudnn")
        module.backend_version()
    except Exception:  # it is not installed, or finds no library, and says so in its own ways
        return None
    return module if all(hasattr(module.pygraph, name) for name in NEEDED.split()) else None


def version() -> str:
    """Which versions these are."""
    module = frontend()
    return "" if module is None else f"{module.__version__} {module.backend_version()}"


@cache
def handle(device: int) -> int:
    """What the library keeps for a device, which is active."""
    del device
    module = frontend()
    assert module
    return module.create_handle()


_lock = threading.RLock()  # a handle has one stream at a time


@dataclass(frozen=True)
class Convolving:
    """A convolution, by numbers.

    Attributes:
        convolution: Which one.
        dtype: Of all elements.
        precision: In which elements of float32 are multiplied: "float32", "tf32"; "" of others.
        epilogue: What becomes of each element before it is stored: "", "bias": an element of its
            channel is added, "bias_relu": and then 0 takes the place of what is negative.
    """

    convolution: Convolution
    dtype: str
    precision: str
    epilogue: str = ""


@dataclass(frozen=True)
class Plan:
    """How the library computes a convolution.

    Attributes:
        name: What it is called, in this version of the library.
        number: Its place among those that the library proposes.
        workspace: How many bytes it needs beside the arrays.
    """

    name: str
    number: int
    workspace: int


class Convolve:
    """A convolution that the library can compute.

    Args:
        job: What is computed.
        device: The number of the active device.
        properties: In its place, the library's description of one that need not be there.
    """

    def __init__(self, job: Convolving, device: int, properties: Any = None) -> None:
        module = frontend()
        assert module
        self.job, self._module = job, module
        self._handle = None if properties is not None else handle(device)
        types, single = module.data_type, module.data_type.FLOAT
        self._type = getattr(types, DTYPES[job.dtype])
        where = {"handle": self._handle} if properties is None else {"device_property": properties}
        self._graph = module.pygraph(
            io_data_type=self._type,
            intermediate_data_type=single,
            compute_data_type=single,
            **where,
        )
        self._describe()

    @property
    def epilogue(self) -> str:
        """What becomes of each element."""
        return self.job.epilogue

    def _describe(self) -> None:
        """Tells the library what is computed."""
        graph, c = self._graph, self.job.convolution
        first, second = map(self._tensor, (FIRST, SECOND), c.operands)
        flat = [1] * (4 - len(c.images))  # it knows two dimensions of places, or three
        assert c.high is not None
        at = {
            "pre_padding": [*[0] * len(flat), *c.low],
            "post_padding": [*[0] * len(flat), *c.high],
            "stride": [*flat, *c.stride],
            "dilation": [*flat, *c.dilation],
        }
        if c.kind == FORWARD:
            result = graph.conv_fprop(first, second, **at)
        elif c.kind == FILTERS:
            result = graph.conv_wgrad(first, second, **at)
        else:
            result = graph.conv_dgrad(first, second, **at)
        if self.job.epilogue:
            channels = (1, *[1] * (len(c.made) - 2), c.made[-1])
            result = graph.bias(result, self._tensor(BIAS, channels))
        if self.job.epilogue == "bias_relu":
            result = graph.relu(result)
        dims, strides = shape_of(c.made)
        result.set_output(True).set_dim(dims).set_stride(strides).set_data_type(self._type)
        result.set_uid(RESULT)

    def _tensor(self, number: int, extents: Extents) -> Any:
        dims, strides = shape_of(extents)
        told = {"dim": dims, "stride": strides, "data_type": self._type, "uid": number}
        return self._graph.tensor(name=f"t{number}", **told)

    def plans(self, name: str | None = None) -> list[Plan]:
        """What the library proposes, the best first by its own estimate.

        Args:
            name: Of the only one that is wanted.

        Raises:
            RuntimeError: It knows none.
        """
        graph = self._graph
        try:
            self._propose()
        except Exception as error:  # the library has a class of its own for that
            raise RuntimeError(str(error)) from error
        found = dict[str, Plan]()
        for number in range(graph.get_execution_plan_count()):
            called = graph.get_plan_name_at_index(number)
            if len(found) == CANDIDATES or called in found or name not in (None, called):
                continue
            try:
                graph.build_plan_at_index(number)
            except Exception:  # it was deselected, or does not do on this device
                continue
            size = graph.get_workspace_size_plan_at_index(number)
            found[called] = Plan(called, number, size)
        return [*found.values()]

    def _propose(self) -> None:
        """Has the library make plans, of which those that are not wanted will not be built."""
        graph, module = self._graph, self._module
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([module.heur_mode.A, module.heur_mode.FALLBACK])
        strict = self.job.precision == "float32"
        unwanted = (*UNWANTED, ROUNDING) if strict else UNWANTED
        graph.deselect_numeric_notes([getattr(module.numerical_note, x) for x in unwanted])
        graph.deselect_workspace_greater_than(WORKSPACE)
        graph.check_support()

    def __call__(self, plan: Plan, *addresses: int, stream: int) -> None:
        """Puts the convolution on a stream.

        Args:
            plan: How it is computed.
            *addresses: Of the operands, the result, the workspace, and the bias, if there is one.
            stream: The driver's number.

        Raises:
            RuntimeError: The library refuses.
        """
        first, second, result, workspace, *bias = addresses
        given = {FIRST: first, SECOND: second, RESULT: result}
        given.update(zip([BIAS], bias))
        with _lock:
            self._module.set_stream(handle=self._handle, stream=stream)
            try:
                self._graph.execute_plan_at_index(
                    given, workspace, plan.number, handle=self._handle
                )
            except Exception as error:
                raise RuntimeError(f"cuDNN, {plan.name}: {error}") from error


def shape_of(extents: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Extents and strides, batch and channels first, of what lies with channels last."""
    batch, *places, channels = extents
    places = [1] * (2 - len(places)) + places
    strides = [1]
    for extent in [channels, *reversed(places)]:
        strides.append(strides[-1] * extent)
    one, *inner, outer = strides
    return [batch, channels, *places], [outer, one, *reversed(inner)]
