"""Every layer and loss gives what PyTorch gives, with gradients; compiled, the same to the bit.

The reference is torch.npz, which make_torch.py wrote; PyTorch itself is not needed. Most of it runs
without machine code, which a kernel for each setting would make slow: `evaluate` op by op against
PyTorch, and the recorded graph, node by node, against that.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from jit.config import configure
from tests.modes import graphs_only
from tests.reference.cases import MODULES, settings_of
from tests.reference.run import distance, reference, run, run_twice

BOUND = 2e-5  # float32, sums in another order
# One of each family has its machine code compared by default; all of them under `slow`.
FAMILIES = "GELU GroupNorm RMSNorm HuberLoss LSTMCell".split()


@pytest.mark.parametrize("name", MODULES)
def test_the_same_as_pytorch(name):
    with configure(target="interpreter"):
        compared_with_pytorch(name)


def compared_with_pytorch(name):
    for number, case in enumerate(MODULES[name]):
        expected = reference()[f"{name}/{number}"]
        found = run(name, case, expected)
        for key, value in expected.items():
            if key.startswith(("out/", "grad/", "after/")):
                assert found[key].shape == value.shape, f"{name}({case.text()}): {key}"
                gap = distance(found[key], value)
                assert gap <= BOUND, f"{name}({case.text()}): {key} differs by {gap:.1e}"


@graphs_only
@pytest.mark.parametrize("name", MODULES)
def test_graphs_are_the_same(name):
    with configure(target="interpreter", check=False):
        compared_in_both_modes(name)


def compared_in_both_modes(name):
    for number, case in enumerate(MODULES[name]):
        expected = reference()[f"{name}/{number}"]
        eager, compiled = run_twice(name, case, expected)
        assert eager.keys() == compiled.keys()
        for key, value in eager.items():
            told = f"{name}({case.text()}): {key}"
            np.testing.assert_array_equal(compiled[key], value, err_msg=told, strict=True)


@graphs_only
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAMILIES else pytest.mark.slow) for n in MODULES]
)
def test_machine_code_is_the_same(name):
    compared_with_pytorch(name)
    compared_in_both_modes(name)


def test_the_reference_is_of_these_cases():
    """Whoever changes a case must run make_torch again."""
    about = json.loads(str(reference()["about"][""]))
    assert about["compared"] == settings_of(), "run `python -m tests.reference.make_torch`"
    numbered = {f"{name}/{k}" for name, cases in MODULES.items() for k in range(len(cases))}
    assert numbered <= set(reference())
    for name, cases in MODULES.items():
        assert len(cases) >= 3, name
        for number, case in enumerate(cases):
            stored = reference()[f"{name}/{number}"]
            arrays = [x for key, x in stored.items() if key.startswith("in/")]
            given = flat(case.inputs)
            assert len(arrays) == len(given)
            assert all(np.array_equal(a, b) for a, b in zip(arrays, given, strict=True)), name


def flat(nest):
    """The arrays of a nest."""
    return [leaf for item in nest for leaf in flat(item)] if isinstance(nest, tuple) else [nest]
