"""Retired words stay out of the tree: prose, messages, names and comments use the field's standard terms."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("forecasting", "workers", "tests", "docs", "dags", "infra", ".ci", ".github")
SUFFIXES = {".py", ".md", ".toml", ".c", ".h", ".yml", ".yaml", ".txt"}
OTHER_NAMES = {"Makefile", "NOTICE", "run"}
EXCEPT = {"CHANGELOG.md", Path(__file__).relative_to(ROOT).as_posix()}
"""History keeps its words, and this file names what it searches for."""


class Rule(NamedTuple):
    """A retired word: its pattern between letters, what to write, and examples that the pattern finds and passes."""

    pattern: str
    instead: str
    found: str
    passed: str


RULES = (
    Rule(r"tell(?!\(\))|tells|told|telling|untold", "report, return, state, show", "num_told = 3", "file.tell()"),
    Rule(
        r"what serves|serves? (?:a|an|the|each|every|its|their|this|that|some|all|most|many|few|both|those|these|other)"
        r" [\w ]{0,20}series|series (?:is|are|was|were) served|served (?:by|with)|serves (?:a series|alone|it)",
        "X is the serving model of a series",
        "the model that serves each of its series",
        "the serving model of each series",
    ),
    Rule("crown|crowned", "champion of", "crowned by the backtest", "the champion of a series"),
    Rule("stands? in|stood in|stand[-_ ]?ins?", "fallback", "def count_stand_ins", "the standing order"),
    Rule(
        "lend|lends|lent|lending|borrow|borrows|borrowed|borrower|borrowers",
        "series that use the prior directly",
        "the prior is lent",
        "the calendar blends both; silent; excellent",
    ),
    Rule(
        "(?:a|the|each|two|next) look|looks? at validation|on_look|num_looks|(?<=_)looks|looks without|FitLooks",
        "a validation pass",
        "call on_look after each step",
        "on_validation; a lookup; look up a name",
    ),
    Rule("anew", "again, from scratch", "trained anew", "renewed"),
    Rule("of late", "recently", "as of late", "of later rows; of latest_forecasts"),
    Rule("for ever", "permanently", "kept for ever", "for every series"),
    Rule("in vain", "for nothing", "read in vain", "in vanilla torch"),
    Rule("whatever", "regardless of, any", "whatever a run is filtered to", "what ever"),
    Rule("not said otherwise", "by default", "what is not said otherwise", "what is not said"),
    Rule("of all that is|more than naives", "all available, at least one network", "of all that is known", "of all"),
    Rule("suit|suits|suited|unsuited", "matches, is suitable for", "null where unsuited", "a suite; suitable"),
    Rule(
        r"(?<!there )(?:is|are) no (?!(?:longer|better|worse|more|less|later|earlier)\b)\w+|(?:has|have) no more",
        "is not a …, no longer has",
        "a gap is no mistake",
        "it is no longer there; there is no table; it is no better; it is not a mistake",
    ),
    Rule("(?<!c_)voids?", "does not apply", "the choice is void", "avoid; c_void_p"),
    Rule(
        "whoever|thereof|whence|hence|thus|lest|wherein|ere",
        "plain modern English",
        "and thus it is",
        "the latest; here; where; nowhere",
    ),
)


@cache
def lines() -> list[tuple[str, str]]:
    """List the tree's lines, each with its place."""
    folders = [path for room in ROOMS for path in (ROOT / room).rglob("*")]
    files = [path for path in sorted({*ROOT.iterdir(), *folders}) if path.is_file() and is_ours(path)]
    return [
        (f"{path.relative_to(ROOT).as_posix()}:{number}", line)
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    ]


def is_ours(path: Path) -> bool:
    is_text = path.suffix in SUFFIXES or path.name in OTHER_NAMES
    return is_text and "constraints" not in path.name and path.relative_to(ROOT).as_posix() not in EXCEPT


def compiled(rule: Rule) -> re.Pattern[str]:
    """Compile a rule so that a name's parts count as words: `num_told` has the word `told`."""
    return re.compile(rf"(?<![A-Za-z])(?:{rule.pattern})(?![A-Za-z])", re.IGNORECASE)


def name_of(rule: Rule) -> str:
    return rule.found


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_rule_finds_its_word_and_no_other(rule: Rule) -> None:
    assert compiled(rule).search(rule.found)
    assert not compiled(rule).search(rule.passed)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_retired_words_are_gone(rule: Rule) -> None:
    pattern = compiled(rule)
    is_of_c = "void" in rule.pattern  # a keyword of C
    hits = [
        f"{place}: {line.strip()}"
        for place, line in lines()
        if pattern.search(line) and not (is_of_c and place.rpartition(":")[0].endswith((".c", ".h")))
    ]
    assert not hits, f"write instead: {rule.instead}\n" + "\n".join(hits)


def test_tree_is_searched() -> None:
    places = {place.rpartition(":")[0] for place, _ in lines()}
    assert {"README.md", "Makefile", "pyproject.toml", "forecasting/schemas.py", "docs/models.md"} <= places
    assert {"forecasting/fleet/native/fleet.h", "workers/jobs/run.py", "tests/conftest.py", ".ci/run"} <= places
