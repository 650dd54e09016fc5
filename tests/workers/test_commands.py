"""Exit codes of commands."""

from collections.abc import Callable

import pytest

from forecasting.errors import ClusterError, UserError
from workers.commands import exit_code_of


def fail(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (7, 7)])
def test_command_ends_with_its_own_code(returned: int | None, code: int) -> None:
    assert exit_code_of(lambda: returned) == code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("Airflow is not up"), 2, "error: Airflow is not up\n"),
        (ClusterError("a local Ray did not start"), 1, "error: a local Ray did not start\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failed_command_ends_with_one_line_and_the_code_of_its_error(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(fail(error)) == code
    assert capsys.readouterr() == ("", line)


def test_any_other_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(fail(ZeroDivisionError()))
