"""Commands that refuse an option of a single value if it is given twice, instead of using the last value in silence."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption


class _Once:
    """Commands that refuse repeated options of a single value."""

    params: list[Any]
    make_parser: Any

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of a command.

        Args:
            ctx: The context of the command.
            args: The words after its name.

        Returns:
            Words that belong to no option or argument.

        Raises:
            BadParameter: An option of a single value is given more than once.
        """
        _, _, in_order = self.make_parser(ctx).parse_args(list(args))
        counts = Counter(each.name for each in in_order)
        for option in self.params:
            is_single = isinstance(option, TyperOption) and not (option.multiple or option.is_flag)
            if is_single and counts[option.name] > 1:
                raise typer.BadParameter(
                    f"{option.opts[0]} is given {counts[option.name]} times; it takes one value", ctx=ctx
                )
        left: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        return left


class OnceCommand(_Once, TyperCommand):
    """A command that refuses repeated options of a single value."""


class OnceGroup(_Once, TyperGroup):
    """Commands under one name, which itself refuses repeated options of a single value."""
