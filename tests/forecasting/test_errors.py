"""The error tree: exit codes, pickling and messages."""

import inspect
import pickle

import pytest

from forecasting import errors
from forecasting.errors import FleetcastError, ServiceError, SpecError, UserError, first_line, naming_extras

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FleetcastError)]


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not SpecError])
def test_every_error_pickles_with_its_message(kind: type[FleetcastError]) -> None:
    again = pickle.loads(pickle.dumps(kind("series 'a' has 3 points but needs 72")))
    assert type(again) is kind
    assert str(again) == "series 'a' has 3 points but needs 72"


def test_spec_error_pickles_with_its_problems() -> None:
    again = pickle.loads(pickle.dumps(SpecError("spec a", ["one", "two"])))
    assert (again.subject, again.problems) == ("spec a", ("one", "two"))


@pytest.mark.parametrize(("module", "extra"), [("duckdb", "worker"), ("pytorch_lightning.loggers", "local")])
def test_missing_module_is_reported_with_the_extra_that_installs_it(module: str, extra: str) -> None:
    with pytest.raises(UserError, match=rf"not installed: pip install 'fleetcast\[{extra}\]'"), naming_extras():
        raise ModuleNotFoundError(name=module)


@pytest.mark.parametrize("module", ["forecasting.prophet", "httpx", None])
def test_missing_module_that_no_extra_installs_stays_as_it_is(module: str | None) -> None:
    with pytest.raises(ModuleNotFoundError), naming_extras():
        raise ModuleNotFoundError(name=module)


@pytest.mark.parametrize("kind", TREE)
def test_exit_code_is_2_for_user_errors_and_1_for_others(kind: type[FleetcastError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UserError) else 1)
    assert not issubclass(kind, UserError) or not issubclass(kind, ServiceError)


@pytest.mark.parametrize("kind", TREE)
def test_tree_in_the_module_docstring_names_every_error(kind: type[FleetcastError]) -> None:
    assert errors.__doc__ is not None
    assert f"{kind.__name__} " in errors.__doc__.replace("\n", " ")


def test_spec_error_is_one_line_for_one_problem_and_a_list_for_more() -> None:
    assert str(SpecError("spec a", ["x is missing"])) == "spec a: x is missing"
    assert str(SpecError("spec a", ["one", "two"])) == "spec a has 2 problems:\n  - one\n  - two"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Kernel error: not JSON\n   0: <unknown>\n   1: clone3\n", "Kernel error: not JSON"),
        ("\n\n  \x1b[1;31mno such bucket\x1b[0m  \r\nmore", "no such bucket"),
        ("\x1b]no \x1b[2Kescape\x1b", "no escape"),
        ("", "no message"),
    ],
)
def test_first_line_has_neither_stack_traces_nor_escapes(text: str, line: str) -> None:
    assert first_line(OSError(text)) == line
