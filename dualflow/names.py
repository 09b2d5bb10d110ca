"""Names that users of other frameworks type first, and what dualflow calls them.

One table makes the hints in error messages (`df.reduce_sum`, `x.view`, `dim=`), the page
docs/names.md, and the words that `dualflow.compat` translates. A line reads

    framework | foreign name, and others that mean the same | ours | note
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import NamedTuple

FUNCTIONS = """
TensorFlow, NumPy | convert_to_tensor, constant, array | df.asarray(x, dtype=...) |
TensorFlow | reduce_sum | df.sum(x, axis=..., keepdims=...) |
TensorFlow | reduce_mean | df.mean(x, axis=..., keepdims=...) |
TensorFlow | reduce_prod | df.prod(x, axis=..., keepdims=...) |
TensorFlow | reduce_max | df.max(x, axis=..., keepdims=...) |
TensorFlow | reduce_min | df.min(x, axis=..., keepdims=...) |
TensorFlow | reduce_any | df.any(x, axis=..., keepdims=...) |
TensorFlow | reduce_all | df.all(x, axis=..., keepdims=...) |
TensorFlow | reduce_std | df.std(x, axis=..., keepdims=...) |
TensorFlow | reduce_variance | df.var(x, axis=..., keepdims=...) |
TensorFlow | reduce_logsumexp | df.logsumexp(x, axis=...) |
TensorFlow | cast | df.astype(x, dtype) |
TensorFlow | clip_by_value | df.clip(x, min, max) |
TensorFlow | gather | df.take(x, indices, axis=...) |
TensorFlow | gather_nd | x[i, j] | index with integer tensors
TensorFlow | boolean_mask | x[mask] |
TensorFlow | scatter_nd, tensor_scatter_nd_update | x.at[i].set(v) | `.add(v)` adds
TensorFlow | fill | df.full(shape, fill_value) |
TensorFlow | range | df.arange(start, stop, step) |
TensorFlow | reverse | df.flip(x, axis=...) |
TensorFlow | mod, floormod | df.remainder(x1, x2) | or `x1 % x2`
TensorFlow | rank | x.ndim |
TensorFlow | TensorArray | df.stack(values) | collect in a Python list
TensorFlow | set_seed | df.random.seed(n) | `tf.random.set_seed`
TensorFlow | truncated_normal | df.random.truncated_normal(shape, mean, std) |
TensorFlow | unsorted_segment_sum | df.nn.functional.segment_sum(x, segment_ids, num_segments) |
TensorFlow | map_fn, vectorized_map | df.map(f, xs) | df.vmap(f) for all rows at once
TensorFlow | foldl, foldr | df.scan(f, init, xs) |
TensorFlow | case, switch_case | df.switch(index, branches, *operands) |
TensorFlow | recompute_grad | df.recompute(f) | PyTorch's `checkpoint`
TensorFlow | no_gradient | df.stop_gradient(x) |
TensorFlow | map_structure | df.tree.tree_map(f, nest) | `tf.nest.map_structure`
TensorFlow | sparse_softmax_cross_entropy_with_logits | df.nn.functional.cross_entropy(x, labels) |
PyTorch | tensor, as_tensor, from_numpy, FloatTensor, LongTensor | df.asarray(x, dtype=...) |
PyTorch | set_float32_matmul_precision | df.set_matmul_precision("tf32") | on a GPU
PyTorch | manual_seed | df.random.seed(n) |
PyTorch | cat, concatenate | df.concat(xs, axis=...) | NumPy's `concatenate` too
PyTorch | mm, bmm, mv, addmm | df.matmul(x1, x2) | or `x1 @ x2`
PyTorch | clamp, clamp_min, clamp_max | df.clip(x, min, max) | also `x.clamp(min=0)`
PyTorch | sub | df.subtract(x1, x2) | or `x1 - x2`
PyTorch | mul | df.multiply(x1, x2) | or `x1 * x2`
PyTorch | div | df.divide(x1, x2) | or `x1 / x2`
PyTorch | neg | df.negative(x) | or `-x`
PyTorch | eq, ne, gt, ge, lt, le | df.equal(x1, x2) | or `x1 == x2`; not_equal, greater, less ...
PyTorch | rand | df.random.uniform(shape) | NumPy's `random.rand` too
PyTorch | randint | df.random.randint(shape, low, high) |
PyTorch | randperm | df.random.permutation(n) |
PyTorch | permute | df.permute_dims(x, axes) |
PyTorch | movedim | df.moveaxis(x, source, destination) |
PyTorch | unsqueeze | df.expand_dims(x, axis=...) |
PyTorch | view, flatten | df.reshape(x, shape) | `(-1,)` flattens
PyTorch | expand | df.broadcast_to(x, shape) |
PyTorch | index_select | df.take(x, indices, axis=...) |
PyTorch | masked_fill | df.where(mask, value, x) |
PyTorch | masked_select | x[mask] |
PyTorch | scatter_add, index_add | x.at[i].add(v) |
PyTorch | scatter | df.put_along_axis(x, indices, values, axis=...) |
PyTorch | topk | df.top_k(x, k, axis=...) |
PyTorch | lgamma | df.gammaln(x) | TensorFlow's name too
PyTorch | matrix_exp | df.linalg.expm(x) |
PyTorch | multinomial | df.random.categorical(shape, logits) | of logarithms of probabilities
PyTorch | numel | x.size |
PyTorch | is_tensor | isinstance(x, df.Tensor) |
PyTorch | relu, relu_ | df.nn.functional.relu(x) | all activations are in nn.functional
PyTorch | sigmoid | df.nn.functional.sigmoid(x) |
PyTorch | softmax | df.nn.functional.softmax(x, axis=...) |
PyTorch | log_softmax | df.nn.functional.log_softmax(x, axis=...) |
PyTorch | mse_loss | df.nn.functional.mse_loss(input, target) |
PyTorch | cross_entropy, nll_loss | df.nn.functional.cross_entropy(logits, labels) |
PyTorch | conv2d | df.nn.functional.conv2d(x, weight, ...) |
PyTorch | Module | df.nn.Module |
PyTorch | Parameter | df.nn.Parameter(value) | a trainable `df.Variable`
PyTorch | Linear | df.nn.Linear(in_features, out_features) |
PyTorch | Sequential | df.nn.Sequential(*modules) | Keras's takes a list
PyTorch | Adam | df.optim.Adam(params, lr=...) |
PyTorch | SGD | df.optim.SGD(params, lr=...) |
PyTorch | DataLoader | df.data.DataLoader(dataset, batch_size=...) |
PyTorch | inference_mode, set_grad_enabled, enable_grad | df.no_grad() | outside, it is on
PyTorch | compile, script | df.function | the decorator; JAX's `jit`
PyTorch | float, double, half | df.float32 | also df.float64, df.float16, df.bfloat16
PyTorch | long, int, short | df.int64 | also df.int32, df.int16
NumPy | transpose, swapaxes | df.permute_dims(x, axes) | `x.T`, `x.mT` for matrices
NumPy | power | df.pow(x1, x2) | or `x1 ** x2`
NumPy | absolute, fabs | df.abs(x) |
NumPy | amax | df.max(x, axis=...) |
NumPy | amin | df.min(x, axis=...) |
NumPy | arcsin, arccos, arctan, arcsinh, arccosh, arctanh | df.asin(x) | acos, atan, asinh ...
NumPy | arctan2 | df.atan2(x1, x2) |
NumPy | true_divide | df.divide(x1, x2) | or `x1 / x2`
NumPy | invert | df.bitwise_invert(x) | or `~x`
NumPy | left_shift | df.bitwise_left_shift(x1, x2) | or `x1 << x2`
NumPy | right_shift | df.bitwise_right_shift(x1, x2) | or `x1 >> x2`
NumPy | conjugate | df.conj(x) |
NumPy | rint, around | df.round(x) |
NumPy | dot, inner | df.matmul(x1, x2) | or `x1 @ x2`
NumPy | norm | df.linalg.vector_norm(x, axis=...) | df.linalg.matrix_norm of matrices
NumPy | median, quantile, percentile, cov, corrcoef | np.median(x) ... | NumPy's take tensors
NumPy | bincount, interp, nanmean, nansum, nan_to_num | np.bincount(x) ... | likewise
NumPy | kron, trapezoid, isclose, allclose | np.kron(x1, x2) ... | likewise
NumPy | vstack, hstack, dstack | df.concat(xs, axis=...) |
NumPy | ravel | df.reshape(x, (-1,)) |
NumPy | cumsum | df.cumulative_sum(x, axis=...) | in PyTorch and TensorFlow too
PyTorch | cummax | df.cumulative_max(x, axis=...) | values only
PyTorch | cummin | df.cumulative_min(x, axis=...) | values only
NumPy | bool_ | df.bool |
NumPy | ndarray | df.Tensor |
NumPy | default_rng | df.random.Generator(seed) |
JAX | numpy | df | functions stand at the top level
JAX | jit | df.function |
JAX | PRNGKey, key | df.random.Generator(seed) | or one `df.random.seed(n)`
JAX | jacfwd, jacrev | df.jacobian(f) |
JAX | lax | df.scan(f, init, xs) | and cond, switch, while_loop, fori_loop, map
JAX | remat | df.recompute(f) |
JAX | default_matmul_precision | df.set_matmul_precision("tf32") | on a GPU
JAX | device_put | x.to("gpu:0") |
JAX | tree_map, tree_util | df.tree.tree_map(f, nest) |
Keras | Dense | df.nn.Linear(in_features, out_features) |
Keras | Conv2D | df.nn.Conv2d(in_channels, out_channels, kernel_size) | images are NCHW
Keras | MaxPooling2D, MaxPool2D | df.nn.MaxPool2d(kernel_size) |
Keras | MeanSquaredError | df.nn.functional.mse_loss(input, target) |
Keras | mixed_precision | df.autocast("bfloat16") | PyTorch's `amp`
Keras | SparseCategoricalCrossentropy | df.nn.functional.cross_entropy(logits, labels) |
"""

ATTRIBUTES = """
PyTorch | view, view_as, resize_, reshape_as | x.reshape(shape) |
PyTorch | permute | x.transpose(axes) | or `df.permute_dims(x, axes)`
PyTorch | unsqueeze | df.expand_dims(x, axis=...) | or `x[:, None]`
PyTorch | data | x.detach() | `x.numpy()` for the array
PyTorch | cpu | x.to("cpu") |
PyTorch | cuda | x.to("gpu:0") |
PyTorch | dim, ndimension | x.ndim | no call
PyTorch | numel | x.size | no call; `x.shape` is PyTorch's `x.size()`
PyTorch | t | x.T |
PyTorch | float | x.astype(df.float32) |
PyTorch | double | x.astype(df.float64) |
PyTorch | half | x.astype(df.float16) |
PyTorch | long | x.astype(df.int64) |
PyTorch | int | x.astype(df.int32) |
PyTorch | bool | x.astype(df.bool) |
PyTorch | clone | x.copy() |
PyTorch | contiguous | x | tensors have no strides to care about
PyTorch | requires_grad_ | df.Variable(x) |
PyTorch | grad_fn, is_leaf, retain_grad, register_hook | df.GradientTape() | `tape.watch(x)`
PyTorch | expand, expand_as | df.broadcast_to(x, shape) |
PyTorch | add, add_ | x + y | a Variable has `assign_add(y)`
PyTorch | sub, sub_ | x - y | a Variable has `assign_sub(y)`
PyTorch | mul, mul_ | x * y |
PyTorch | div, div_ | x / y |
PyTorch | neg | -x |
PyTorch | eq | x == y |
PyTorch | copy_, fill_, zero_, set_ | df.Variable(x) | it has `assign(y)`; tensors are immutable
PyTorch | scatter_, index_put_, masked_fill_ | x.at[i].set(v) |
PyTorch | scatter_add_, index_add_ | x.at[i].add(v) |
PyTorch | masked_fill | df.where(mask, value, x) |
PyTorch | bmm, mv | x @ y |
PyTorch | relu | df.nn.functional.relu(x) |
PyTorch | sigmoid | df.nn.functional.sigmoid(x) |
PyTorch | softmax | df.nn.functional.softmax(x, axis=...) |
PyTorch | repeat | df.tile(x, repetitions) | NumPy's is `df.repeat(x, repeats, axis=...)`
NumPy | ravel | x.flatten() |
NumPy | swapaxes | x.transpose(axes) |
NumPy | dot | x @ y |
NumPy | cumsum | x.cumulative_sum(axis) |
NumPy | clip | x.clamp(min, max) |
NumPy | conjugate | df.conj(x) |
NumPy | itemsize | x.dtype.itemsize |
NumPy | fill, put, itemset | x.at[i].set(v) |
TensorFlow | get_shape | x.shape |
TensorFlow | set_shape | x.reshape(shape) | shapes are known, or in a TensorSpec
TensorFlow | eval | x.numpy() |
TensorFlow | ref | x | tensors hash by identity
TensorFlow | assign, assign_add, assign_sub | df.Variable(x) | tensors are immutable
TensorFlow | value | v.read_value() |
JAX | block_until_ready | x | nothing runs in the background
"""

WORDS = """
PyTorch | dim | axis= |
PyTorch | dims | axes= |
PyTorch | keepdim | keepdims= |
PyTorch | size | shape= | NumPy's samplers too
PyTorch | input, other, tensors | pass it by position |
PyTorch | unbiased | correction= | `correction=1` for `unbiased=True`
PyTorch | inplace, out | use the result | tensors are immutable; a Variable has `assign`
PyTorch | largest | mode="largest" or mode="smallest" | of `df.top_k`
PyTorch | sorted | leave it out | `df.top_k` and `df.unique_values` give elements in order
PyTorch | create_graph | open an outer tape | gradients inside its `with` are recorded
TensorFlow | keep_dims | keepdims= |
TensorFlow | reduction_indices | axis= |
TensorFlow | perm | axes= |
TensorFlow | minval | low= |
TensorFlow | maxval | high= |
TensorFlow | stddev | std= |
TensorFlow | initial_value | value= |
TensorFlow | jit_compile, autograph, reduce_retracing | leave it out | it works without
TensorFlow | name | leave it out | graphs name the user's lines
NumPy | ddof | correction= |
NumPy | a_min | min= |
NumPy | a_max | max= |
NumPy | loc | mean= |
NumPy | scale | std= |
NumPy | a | pass it by position |
JAX | argnum | argnums= |
Keras | learning_rate | lr= |
Keras | units | out_features= |
Keras | filters | out_channels= |
Keras | strides | stride= |
"""


class Row(NamedTuple):
    """One line of the table."""

    frameworks: tuple[str, ...]
    foreign: tuple[str, ...]
    ours: str
    note: str


def split(text: str) -> tuple[str, ...]:
    """`a, b` as ("a", "b")."""
    return tuple(part.strip() for part in text.split(","))


@cache
def rows(table: str) -> tuple[Row, ...]:
    """The lines of one of the tables above."""
    lines = (line.split(" |") for line in table.strip().splitlines())
    return tuple(Row(split(who), split(what), *map(str.strip, rest)) for who, what, *rest in lines)


@cache
def index(table: str) -> Mapping[str, Row]:
    """The rows of a table by each of their foreign names; the first row wins."""
    return {name: row for row in reversed(rows(table)) for name in row.foreign}


def hint(row: Row) -> str:
    """What to write instead."""
    return f"{row.ours} ({row.note})" if row.note else row.ours


def close_to(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, if any does."""
    import difflib  # not before somebody mistypes a name

    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.7)), None)


def public() -> list[str]:
    """The names of `df`."""
    return sys.modules["dualflow"].__all__


MODULES = ("linalg", "fft", "random", "nn.functional")  # of functions


@lru_cache(maxsize=256)  # `hasattr` may ask again and again
def missing_function(name: str, module: str = "") -> str:
    """The message for `df.<name>`, or the same of a module of functions, which does not exist."""
    what = f"dualflow{module and '.'}{module} has no {name}"
    if name.startswith("_"):  # Python's protocols ask for many of these
        return what
    row = index(FUNCTIONS).get(name)
    if row is not None:
        return f"{what} ({' and '.join(row.frameworks)}): {hint(row)}"
    places = {place: import_module(f"dualflow.{place}").__all__ for place in MODULES}
    if name in public():
        return f"{what}: it is df.{name}"
    for place, known in places.items():
        if name in known:
            return f"{what}: it is df.{place}.{name}"
    similar = close_to(name, places[module] if module else public())
    prefix = f"{module}." if module else ""
    return what + (f": did you mean df.{prefix}{similar}?" if similar else "")


@lru_cache(maxsize=256)  # `hasattr` may ask again and again
def missing_attribute(owner: type, name: str) -> str:
    """The message for `x.<name>`, which does not exist; `x` is an `owner`."""
    what = f"a {owner.__name__} has no {name}"
    if name.startswith("_"):  # Python's protocols ask for many of these
        return what
    row = index(ATTRIBUTES).get(name)
    if row is not None:
        return f"{what} ({' and '.join(row.frameworks)}): {hint(row)}"
    if name in public():
        return f"{what}: it is a function, df.{name}(x)"
    similar = close_to(name, dir(owner))
    return what + (f": did you mean x.{similar}?" if similar else "")


def wrong_words(function: str, given: Iterable[str]) -> str:
    """The message for keyword arguments that `function` does not take."""
    told = []
    for word in given:
        row = index(WORDS).get(word)
        told.append(f"{word}=" + (f" ({' and '.join(row.frameworks)}): {hint(row)}" if row else ""))
    return f"{function}() takes no {', no '.join(told)}"


def markdown() -> str:
    """The tables as a page of documentation."""
    lines = [
        "# Names from other frameworks",
        "",
        "What to write in dualflow for a name you know. The errors of `df.reduce_sum`, `x.view` or",
        "`dim=` say the same.",
    ]
    titles = {"Functions": FUNCTIONS, "Tensor's attributes": ATTRIBUTES, "Argument words": WORDS}
    for title, table in titles.items():
        lines += ["", f"## {title}", "", "| from | name | dualflow | note |", "|---|---|---|---|"]
        for row in rows(table):
            foreign = ", ".join(f"`{name}`" for name in row.foreign)
            words = table is WORDS and not row.ours.endswith("=")  # advice, not code
            ours = row.ours if words else f"`{row.ours}`"
            lines.append(f"| {', '.join(row.frameworks)} | {foreign} | {ours} | {row.note} |")
    return "\n".join(lines) + "\n"
