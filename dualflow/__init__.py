"""dualflow: deep learning in two modes over one program.

Eager execution is the default; `@df.function` records the same Python into a graph and runs that.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from dualflow import names
from dualflow.autodiff.custom import custom_gradient, custom_jvp
from dualflow.autodiff.functional import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from dualflow.autodiff.tape import GradientTape
from dualflow.autodiff.vmap import vmap
from dualflow.core import tree
from dualflow.core.context import no_grad
from dualflow.core.devices import device
from dualflow.core.inspection import (
    __array_namespace_info__,
    broadcast_shapes,
    can_cast,
    finfo,
    iinfo,
    isdtype,
    result_type,
)
from dualflow.core.precision import autocast, set_matmul_precision
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.arrange import concat, diff, flip, roll, split, stack, unstack
from dualflow.ops.basic import asarray, from_dlpack, full, stop_gradient
from dualflow.ops.choice import clip, maximum, minimum, where
from dualflow.ops.create import (
    arange,
    empty,
    empty_like,
    eye,
    full_like,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from dualflow.ops.einsum import einsum, tensordot
from dualflow.ops.elementwise import (
    abs,
    add,
    astype,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    conj,
    divide,
    equal,
    floor,
    floor_divide,
    greater,
    greater_equal,
    imag,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    multiply,
    negative,
    not_equal,
    positive,
    real,
    remainder,
    round,
    sign,
    signbit,
    subtract,
    trunc,
)
from dualflow.ops.extremes import cumulative_max, cumulative_min
from dualflow.ops.gamma import digamma, gammaln, polygamma
from dualflow.ops.gather import nonzero, take, take_along_axis
from dualflow.ops.hot import one_hot
from dualflow.ops.linalg import matmul, vecdot
from dualflow.ops.lines import linspace
from dualflow.ops.power import pow, reciprocal, sqrt, square
from dualflow.ops.random import randn
from dualflow.ops.reduce import all, any, argmax, argmin, max, min, prod, sum
from dualflow.ops.repeating import repeat, tile
from dualflow.ops.scan import cumulative_prod, cumulative_sum
from dualflow.ops.segments import put_along_axis
from dualflow.ops.sets import isin, unique_all, unique_counts, unique_inverse, unique_values
from dualflow.ops.shape import (
    broadcast_arrays,
    broadcast_to,
    expand_dims,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
    squeeze,
)
from dualflow.ops.slicing import pad
from dualflow.ops.sort import argsort, searchsorted, sort, top_k
from dualflow.ops.special import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cbrt,
    copysign,
    cos,
    cosh,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    hypot,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    nextafter,
    sin,
    sinh,
    tan,
    tanh,
)
from dualflow.ops.statistics import count_nonzero, logsumexp, mean, std, var
from dualflow.tracing import lazily
from dualflow.tracing.modes import set_mode
from dualflow.tracing.progress import show_progress
from dualflow.tracing.reports import made_by
from jit.collector import collector_paused
from jit.types import dtypes

if TYPE_CHECKING:  # loaded when first used, see `__getattr__`
    from dualflow import (
        cache,
        comparison,
        compat,
        data,
        errors,
        fft,
        graph,
        io,
        linalg,
        models,
        nn,
        optim,
        random,
        testing,
        train,
    )
    from dualflow.comparison.bisection import bisect
    from dualflow.comparison.both import compare
    from dualflow.comparison.planning import plan
    from dualflow.comparison.profiling import profile
    from dualflow.comparison.usage import memory
    from dualflow.graph import render
    from dualflow.tracing.artefact import load_function
    from dualflow.tracing.control import (
        cond,
        fori_loop,
        map,
        recompute,
        scan,
        switch,
        while_loop,
    )
    from dualflow.tracing.decorator import function
    from dualflow.tracing.explain import status
    from dualflow.tracing.numerics import check_numerics
    from dualflow.tracing.spec import TensorSpec
    from jit.runtime.threads import num_threads, set_num_threads

__version__ = "0.1.0"
__array_api_version__ = "2025.12"

bool, bfloat16 = dtypes["bool"], dtypes["bfloat16"]
int8, int16, int32, int64 = (dtypes[f"int{n}"] for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (dtypes[f"uint{n}"] for n in (8, 16, 32, 64))
float16, float32, float64 = (dtypes[f"float{n}"] for n in (16, 32, 64))
complex64, complex128 = dtypes["complex64"], dtypes["complex128"]
e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None

SUBMODULES = (  # loaded when first used
    "cache comparison compat data errors fft graph io linalg models nn optim random testing train"
).split()
FUNCTIONS = lazily.NAMES | {  # likewise, with their modules
    "bisect": "dualflow.comparison.bisection",
    "compare": "dualflow.comparison.both",
    "load_function": "dualflow.tracing.artefact",
    "plan": "dualflow.comparison.planning",
    "memory": "dualflow.comparison.usage",
    "profile": "dualflow.comparison.profiling",
    "num_threads": "jit.runtime.threads",
    "set_num_threads": "jit.runtime.threads",
}

lazily.compile_repeated_sweeps()
show_progress()
made_by(
    report=lambda *args, **kwargs: __getattr__("compare")(*args, **kwargs),
    view=lambda function: __getattr__("comparison").view(function),
)


def __getattr__(name: str) -> Any:
    if name in SUBMODULES or name in FUNCTIONS:
        with collector_paused(lasting=True):
            module = importlib.import_module(FUNCTIONS.get(name, f"dualflow.{name}"))
        if name in SUBMODULES:
            return module
        found = globals()[name] = getattr(module, name)
        return found
    raise AttributeError(names.missing_function(name))


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "GradientTape",
    "Tensor",
    "TensorSpec",
    "Variable",
    "__array_api_version__",
    "__array_namespace_info__",
    "__version__",
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asarray",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "autocast",
    "bfloat16",
    "bisect",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "bool",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "cache",
    "can_cast",
    "cbrt",
    "ceil",
    "check_numerics",
    "clip",
    "compare",
    "comparison",
    "compat",
    "complex128",
    "complex64",
    "concat",
    "cond",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "cumulative_max",
    "cumulative_min",
    "cumulative_prod",
    "cumulative_sum",
    "custom_gradient",
    "custom_jvp",
    "data",
    "device",
    "diff",
    "digamma",
    "divide",
    "e",
    "einsum",
    "empty",
    "empty_like",
    "equal",
    "erf",
    "erfc",
    "erfinv",
    "errors",
    "exp",
    "exp2",
    "expand_dims",
    "expm1",
    "eye",
    "fft",
    "finfo",
    "flip",
    "float16",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "fori_loop",
    "from_dlpack",
    "full",
    "full_like",
    "function",
    "gammaln",
    "grad",
    "graph",
    "greater",
    "greater_equal",
    "hessian",
    "hvp",
    "hypot",
    "iinfo",
    "imag",
    "inf",
    "int16",
    "int32",
    "int64",
    "int8",
    "io",
    "isdtype",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "jacobian",
    "jvp",
    "less",
    "less_equal",
    "linalg",
    "linspace",
    "load_function",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "map",
    "matmul",
    "matrix_transpose",
    "max",
    "maximum",
    "mean",
    "memory",
    "meshgrid",
    "min",
    "minimum",
    "models",
    "moveaxis",
    "multiply",
    "nan",
    "negative",
    "newaxis",
    "nextafter",
    "nn",
    "no_grad",
    "nonzero",
    "not_equal",
    "num_threads",
    "one_hot",
    "ones",
    "ones_like",
    "optim",
    "pad",
    "permute_dims",
    "pi",
    "plan",
    "polygamma",
    "positive",
    "pow",
    "prod",
    "profile",
    "put_along_axis",
    "randn",
    "random",
    "real",
    "reciprocal",
    "recompute",
    "remainder",
    "render",
    "repeat",
    "reshape",
    "result_type",
    "roll",
    "round",
    "scan",
    "searchsorted",
    "set_matmul_precision",
    "set_mode",
    "set_num_threads",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "status",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "switch",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensordot",
    "testing",
    "tile",
    "top_k",
    "train",
    "tree",
    "tril",
    "triu",
    "trunc",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
    "value_and_grad",
    "var",
    "vecdot",
    "vjp",
    "vmap",
    "where",
    "while_loop",
    "zeros",
    "zeros_like",
]
