"""Public functions are documented: a docstring longer than its summary has every section that applies."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for package in ("forecasting", "workers", "dags") for path in (ROOT / package).rglob("*.py"))


def public_functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a module or a class whose own name, and that of their class, is public."""
    for child in node.body:
        if getattr(child, "name", "_").startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def has_help(argument: ast.arg) -> bool:
    annotation = "" if argument.annotation is None else ast.unparse(argument.annotation)
    return annotation == "Reading" or re.search(r"typer\..*help=", annotation) is not None


def missing_parts(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """List what the docstring of a function lacks: itself, `Args:`, `Returns:`.

    A summary alone, with or without an example, needs no sections; neither does a property. Options of a command have
    their help beside them.
    """
    docstring = ast.get_docstring(function)
    if docstring is None:
        return ["docstring"]
    is_summary = "\n\n" not in docstring.partition(">>>")[0].strip()
    if is_summary or is_property(function):
        return []
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named = [argument for argument in every if argument.arg not in ("self", "cls") and not has_help(argument)]
    missing = []
    if named and "Args:" not in docstring:
        missing.append("Args")
    returns_value = function.returns is not None and ast.unparse(function.returns) != "None"
    if returns_value and "Returns:" not in docstring and "Yields:" not in docstring:
        missing.append("Returns")
    return missing


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_public_functions_are_documented(path):
    functions = list(public_functions(ast.parse(path.read_text(encoding="utf-8"))))
    found = {f"line {function.lineno}: {function.name}": missing_parts(function) for function in functions}
    assert {name: parts for name, parts in found.items() if parts} == {}


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def f(x: int) -> int: ...", ["docstring"]),
        ('def f(x: int) -> int:\n    """Return x."""', []),
        ('def f(x: int) -> int:\n    """Return x.\n\n    It is odd.\n    """', ["Args", "Returns"]),
        ('def f(x: int) -> None:\n    """Print x.\n\n    It is odd.\n    """', ["Args"]),
        ('def f() -> int:\n    """Return 1.\n\n    It is odd.\n\n    Returns:\n        One.\n    """', []),
        ('def f(x: int) -> int:\n    """Return x.\n\n    >>> f(1)\n    1\n    """', []),
        ('def f(x: Annotated[int, typer.Option(help="x.")]) -> None:\n    """Print x.\n\n    It is odd.\n    """', []),
        ('def f(x: Annotated[int, typer.Option()]) -> None:\n    """Print x.\n\n    It is odd.\n    """', ["Args"]),
    ],
)
def test_the_check_finds_what_is_missing(source, missing):
    (function,) = public_functions(ast.parse(source))
    assert missing_parts(function) == missing
