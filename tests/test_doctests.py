"""Every example (`>>>`) in a docstring of either package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import dualflow as df
import jit
from dualflow.core.registry import functions
from tests.ops.test_laws import public_functions

# Modules of other frameworks, which are imported where these are.
FOREIGN = ("dualflow.bench.contestants.of_", "dualflow.bench.gpu_torch", "dualflow.bench.gpu_jax")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules() -> list[str]:
    """The names of all modules but the entry point, which runs a command when it is imported."""
    found = [
        module.name
        for package in (df, jit)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    own = {name for name in found if not name.startswith(FOREIGN)}
    return sorted({"dualflow", "jit", *own} - {"dualflow.__main__"})


def examples(name: str) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples."""
    module = importlib.import_module(name)
    found = doctest.DocTestFinder().find(module, extraglobs={"df": df})
    return [test for test in found if test.examples]


WITH_EXAMPLES = [name for name in modules() if examples(name)]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    failed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in examples(name):
        df.random.seed(0)
        runner.run(test, out=failed.append)
    assert not failed, "".join(failed)


def test_what_docstrings_of_public_functions_tell():
    """Arguments, what comes of them, and an example; those of generated functions run here."""
    found = set(public_functions())
    texts = {name: inspect.getdoc(functions[name]) or "" for name in found}
    for part in ("Returns:", "Example:"):
        assert [name for name in sorted(found) if part not in texts[name]] == []
    takes = {name for name in found if inspect.signature(functions[name]).parameters}
    assert [name for name in sorted(takes) if "Args:" not in texts[name]] == []
    failed: list[str] = []
    runner, parser = doctest.DocTestRunner(optionflags=FLAGS), doctest.DocTestParser()
    for name in sorted(found):
        df.random.seed(0)
        runner.run(parser.get_doctest(texts[name], {}, name, None, None), out=failed.append)
    assert not failed, "".join(failed)
    assert runner.tries > 2 * len(found) - 1


def test_there_are_examples():
    assert "dualflow.tracing.decorator" in WITH_EXAMPLES
