"""The rules that tests/test_architecture.py holds the tree against, as functions of source text.

A rule takes a `Source` and yields one complaint for each place that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

FILE_LINES = 500
FUNCTION_LINES = 50
FUNCTION_LINES_P90 = 25

# A package that is heavy or optional -> the only modules that may import it.
CONFINED = {
    "cupy": r"dualflow/core/backend\.py|jit/runtime/(cuda|library)\.py",
    "llvmlite": r"jit/codegen/llvm\w*\.py|jit/runtime/cpu\.py",
}
# The compiler serves typed array graphs, whoever builds them and whatever for.
FOREIGN_TO_JIT = r"(?<![a-z])(gradient|vjp|tape|layer|loss)(e?s)?(?![a-z])"
# The table of algebraic rules, and what finds the rules of a node.
NAMES_OPS = ("jit/passes/algebra.py", "jit/passes/rewrite.py")
# Run by interpreters that have neither package; only the first one is ours.
CONTESTANTS = r"dualflow/bench/contestants/(?!of_dualflow)\w+\.py"
# What would tie the text to one machine or workplace.
LOCAL_TRACES = {
    "path of a machine": r"(?<![\w.}])/(work|home|root|Users)/\w",
    "package registry": r"\b(pypi\.(org|python)|pythonhosted\.org|registry\.npmjs|anaconda\.org)",
    "number of a tracker": r"(?i)\b(issue|ticket|bug|pull request)s?[ /-]*#?\d|\(#\d+\)|\bPR #?\d",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A text file of the project; `path` is relative to its root, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; empty for anything but Python."""
        return ast.parse(self.text if self.is_python else "", filename=self.path)

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @property
    def in_packages(self) -> bool:
        return self.is_python and self.path.startswith(("dualflow/", "jit/"))

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def at(self, line: int, complaint: str) -> str:
        return f"{self.path}:{line}: {complaint}"


def code_lines(function: Function) -> int:
    """Lines from `def` to the end, less the docstring: nobody should save on explaining."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        lines -= text.end_lineno - text.lineno + 1
    return lines


def file_size(source: Source) -> Iterator[str]:
    """A file of Python is short enough to be read in one go."""
    count = len(source.text.splitlines())
    if source.is_python and count > FILE_LINES:
        yield source.at(count, f"{count} lines, at most {FILE_LINES}: split it by meaning")


def function_size(source: Source) -> Iterator[str]:
    """A function fits on a screen."""
    for function in source.functions():
        if (count := code_lines(function)) > FUNCTION_LINES:
            said = f"{function.name} has {count} lines, at most {FUNCTION_LINES}"
            yield source.at(function.lineno, said)


def module_docstring(source: Source) -> Iterator[str]:
    """A module says what it is for; a file that only marks a package may be empty."""
    if source.tree.body and ast.get_docstring(source.tree) is None:
        yield source.at(1, "no docstring that says what this module is for")


def public_docstring(source: Source) -> Iterator[str]:
    """A public function or class of the two packages says what it does."""
    for node in source.tree.body if source.in_packages else ():
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        overload = any(ast.unparse(mark).endswith("overload") for mark in node.decorator_list)
        if not overload and ast.get_docstring(node) is None:
            yield source.at(node.lineno, f"{node.name} is public and has no docstring")


def imported(node: ast.AST) -> list[str]:
    """The modules that a node imports, by statement or by `import_module("...")`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    if isinstance(node, ast.Call) and re.search(
        r"(import_module|__import__)$", ast.unparse(node.func)
    ):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    return []


def confined_imports(source: Source) -> Iterator[str]:
    """Heavy and optional packages are imported in one or two places only."""
    for node in ast.walk(source.tree) if source.in_packages else ():
        for module in imported(node):
            package = module.partition(".")[0]
            if package in CONFINED and not re.fullmatch(CONFINED[package], source.path):
                yield source.at(node.lineno, f"{package} is imported here")


def contestants_stand_alone(source: Source) -> Iterator[str]:
    """What other frameworks' interpreters run imports nothing of ours."""
    if not re.fullmatch(CONTESTANTS, source.path):
        return
    for node in ast.walk(source.tree):
        ours = {module.partition(".")[0] for module in imported(node)} & {"dualflow", "jit"}
        if ours or getattr(node, "level", 0) > 1:
            yield source.at(node.lineno, f"leaves its package: {ast.unparse(node)}")


def star_imports(source: Source) -> Iterator[str]:
    """Every name shows where it comes from."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield source.at(node.lineno, f"from {node.module} import *")


def words_of_jit(source: Source) -> Iterator[str]:
    """jit does not speak of what its callers use graphs for."""
    if not source.path.startswith("jit/"):
        return
    for number, line in enumerate(source.text.splitlines(), start=1):
        for match in re.finditer(FOREIGN_TO_JIT, line, re.IGNORECASE):
            yield source.at(number, f"the word {match[0]!r} has no meaning in jit")


def is_op_name(node: ast.AST) -> bool:
    """`op.name` or `anything.op.name`."""
    owner = node.value if isinstance(node, ast.Attribute) and node.attr == "name" else None
    return getattr(owner, "id", None) == "op" or getattr(owner, "attr", None) == "op"


def is_name_against_text(node: ast.Compare) -> bool:
    """`anything.name == "text"`, either way round, or `in` a collection of texts."""
    sides = [node.left, *node.comparators]
    names = any(isinstance(side, ast.Attribute) and side.attr == "name" for side in sides)
    literals = [leaf for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)]
    return names and any(isinstance(leaf.value, str) for leaf in literals)


def asks_for_an_op(node: ast.AST) -> bool:
    """Whether the meaning of the program depends here on what an op is called."""
    if isinstance(node, ast.Compare):
        named = any(is_op_name(side) for side in [node.left, *node.comparators])
        return named or is_name_against_text(node)
    if isinstance(node, ast.Match):
        return is_op_name(node.subject)
    if isinstance(node, ast.Subscript):
        return is_op_name(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        looked_up = node.func.attr == "get" and any(map(is_op_name, node.args))
        return looked_up or is_op_name(node.func.value)
    return False


def op_names(source: Source) -> Iterator[str]:
    """Passes and forms ask an op for its traits and rules, never for its name."""
    where = re.match(r"jit/(passes|forms)/", source.path)
    if where is None or source.path in NAMES_OPS:
        return
    for node in ast.walk(source.tree):
        if asks_for_an_op(node):
            yield source.at(node.lineno, f"decides by an op's name: {ast.unparse(node)[:60]}")


def local_traces(source: Source) -> Iterator[str]:
    """Nothing in the tree points at one machine, registry or tracker."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        for what, pattern in LOCAL_TRACES.items():
            if match := re.search(pattern, line):
                yield source.at(number, f"{what}: {match[0]!r}")


RULES = (
    file_size,
    function_size,
    module_docstring,
    public_docstring,
    confined_imports,
    contestants_stand_alone,
    star_imports,
    words_of_jit,
    op_names,
    local_traces,
)
