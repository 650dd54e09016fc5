"""The documents name only what exists: files, commands, options, fields, variables, SQL, Python names."""

import ast
import hashlib
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import forecasting as fc
from forecasting.cli.app import app
from forecasting.schemas import TABLES
from forecasting.settings import SETTINGS_FILE_VARIABLE, FleetSettings, Settings
from forecasting.spec.checks import CHECKS
from forecasting.spec.recipes import RECIPES
from forecasting.spec.spec import NETWORKS, STATISTICS, Spec, make_spec
from forecasting.spec.training import TrainingConfig
from forecasting.store.query import describe_tables, query
from forecasting.store.tables import Store
from workers.arguments import RunArguments
from workers.deletion import DeletionArguments
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)
MOST_LINES = {"README.md": 200, "ARCHITECTURE.md": 250}
ROOMS = ("forecasting", "workers", "dags", "infra", "tests", "docs", ".ci")
OTHER_VARIABLES = {SETTINGS_FILE_VARIABLE, "FLEETCAST_BENCHMARK_DATA"}
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the licence's text as the Apache Software Foundation publishes it."""


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), flags=re.DOTALL | re.MULTILINE)
    return [block for of_language, block in fenced if of_language == language]


def prose_of(document: str) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.DOTALL | re.MULTILINE)


def spans(document: str) -> list[str]:
    """List the texts in backticks outside of code blocks."""
    prose = prose_of(document)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def statements(shell: str) -> Iterator[list[str]]:
    """Split a shell script into its commands, each a list of words."""
    lexer = shlex.shlex(shell.replace("\\\n", " "), posix=True, punctuation_chars=";|&>\n")
    lexer.whitespace, lexer.whitespace_split = " \t", True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set(";|&>\n"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def commands(document: str, name: str) -> list[list[str]]:
    """List the arguments of each command `name`, in code blocks and in the running text."""
    shown = [words for block in blocks(document, "sh") for words in statements(block)]
    named = [span.split() for span in spans(document)]
    return [words[1:] for words in shown + named if words[:1] == [name] and len(words) > 1]


def section(document: str, heading: str) -> str:
    """Return the text below a heading, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text_of(document), flags=re.DOTALL | re.MULTILINE)
    assert found, f"{document} has no heading '{heading}'"
    return found[1]


def anchors(document: str) -> set[str]:
    """Return the fragments that link to a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: str) -> list[tuple[str, str]]:
    """List a document's links into the repository: the path from the root, and the fragment or an empty text."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
        if "://" not in link:
            path, _, fragment = link.partition("#")
            target = (ROOT / document).parent / path if path else ROOT / document
            found.append((target.resolve().relative_to(ROOT).as_posix(), fragment))
    return found


def first_cells(table: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), flags=re.MULTILINE))


def options_of(words: list[str]) -> set[str] | None:
    """Return the options of the command that these words begin with; None if there is no such command."""
    command = typer.main.get_command(app)
    known = {option for parameter in command.params for option in parameter.opts}
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command, words = command.commands.get(words[0]), words[1:]
        if command is None:
            return None
        known |= {option for parameter in command.params for option in parameter.opts}
    return known | {"--help"}


def each_command(group: typer.core.TyperGroup) -> Iterator[list[str]]:
    """Yield the words of every command, those of groups included."""
    for name, command in group.commands.items():
        yield [name]
        if isinstance(command, typer.core.TyperGroup):
            yield from ([name, *words] for words in each_command(command))


def pyproject() -> dict:
    return tomllib.loads(text_of("pyproject.toml"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_make_targets_exist(document):
    named = {words[0] for words in commands(document, "make")}
    assert named <= make_targets()


def test_every_make_target_is_explained():
    assert {words[0] for words in commands("CONTRIBUTING.md", "make")} == make_targets()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_commands_and_options_exist(document):
    for words in commands(document, "fleetcast"):
        known = options_of(words)
        assert known is not None, f"there is no command: fleetcast {' '.join(words)}"
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known, f"no such option: fleetcast {' '.join(words)}"


def test_options_named_alone_belong_to_some_command():
    every = {option for words in each_command(typer.main.get_command(app)) for option in options_of(words) or ()}
    named = {span.split()[0] for document in DOCUMENTS for span in spans(document) if span.startswith("--")}
    assert named
    assert named <= every


def test_every_command_is_in_the_readme():
    named = {words[0] for words in commands("README.md", "fleetcast")}
    assert named >= set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("document", [*DOCUMENTS, "NOTICE"])
def test_named_files_exist(document):
    words = text_of(document).split() if document == "NOTICE" else spans(document)
    paths = [word for word in words if re.match(rf"({'|'.join(map(re.escape, ROOMS))})/[\w./-]*$", word)]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def test_guides_name_what_their_files_define():
    guides = re.findall(r"^## (Add a .+)$", text_of("CONTRIBUTING.md"), flags=re.MULTILINE)
    text = " ".join(" ".join(section("CONTRIBUTING.md", guide) for guide in guides).split())
    named = re.findall(r"`(\w+)`[^`]{0,20}? (?:in|of) `([\w/]+\.\w+)`", text)
    assert len(named) >= 8
    missing = [(name, path) for name, path in named if not re.search(rf"\b{name}\b", text_of(path))]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    assert [path for path, _ in links(document) if not (ROOT / path).exists()] == []
    missing = [(path, part) for path, part in links(document) if part and part not in anchors(path)]
    assert missing == []


def test_every_document_can_be_reached_from_the_readme():
    reached, waiting = set(), ["README.md"]
    while waiting:
        document = waiting.pop()
        if document in DOCUMENTS and document not in reached:
            reached.add(document)
            waiting += [path for path, _ in links(document)]
    assert reached == set(DOCUMENTS)


@pytest.mark.parametrize(("document", "most"), MOST_LINES.items())
def test_first_documents_stay_short(document, most):
    assert len(text_of(document).splitlines()) <= most


def test_glossary_names_each_word_once():
    words = re.findall(r"^\| ([^|]+) \|", section("ARCHITECTURE.md", "Glossary"), flags=re.MULTILINE)
    named = [word.strip() for cell in words[1:] for word in cell.split(",") if not cell.startswith("-")]
    assert {"design", "wiring", "role", "reference"} <= set(named)
    assert len(named) == len(set(named))


def test_six_files_to_read_first_exist():
    listed = re.findall(r"^\d\. `([^`]+)`", section("ARCHITECTURE.md", "Six files to read first"), flags=re.MULTILINE)
    assert len(listed) == 6
    assert all((ROOT / path).is_file() for path in listed)


def test_spec_table_has_every_field_and_no_other():
    fields = set()
    for name, field in Spec.model_fields.items():
        parts = getattr(field.annotation, "model_fields", None)
        if name == "overrides":
            fields.add("overrides.…")
        elif parts:
            for part, inner in parts.items():
                inner_parts = getattr(inner.annotation, "model_fields", None)
                fields |= {f"{name}.{part}.{one}" for one in inner_parts} if inner_parts else {f"{name}.{part}"}
        else:
            fields.add(name)
    assert set(first_cells(section("docs/spec.md", "Fields"))) == fields


def test_checks_are_all_explained():
    """Each kind of check has a row, which names its own fields, and the example is accepted."""
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", section("docs/spec.md", "Checks"), flags=re.MULTILINE))
    shared = {"kind", "name", "series", "on_failure"}
    fields = {check.model_fields["kind"].annotation.__args__[0]: set(check.model_fields) - shared for check in CHECKS}
    assert set(rows) == set(fields)
    for kind, own in fields.items():
        assert own <= set(re.findall(r"`(\w+)", rows[kind])), kind
    (text,) = (block for block in blocks("docs/spec.md", "toml") if "[[checks]]" in block)
    checked = make_spec(example_spec().model_dump(exclude_unset=True) | tomllib.loads(text), subject="docs/spec.md")
    assert len(checked.checks) == text.count("[[checks]]")


def test_spec_table_names_every_model():
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", section("docs/spec.md", "Fields"), flags=re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows["models"])) == set(NETWORKS)
    assert set(re.findall(r"`(\w+)`", rows["statistics"])) == set(STATISTICS)
    assert set(first_cells(prose_of("docs/models.md"))) >= set(NETWORKS)


def test_every_recipe_is_explained():
    assert set(first_cells(section("docs/spec.md", "Recipes"))) == set(RECIPES)


def test_overrides_are_all_named():
    named = re.search(r"^Overrides: (.*?);", section("docs/spec.md", "Overrides"), re.DOTALL | re.MULTILINE)
    assert named
    assert re.findall(r"`(\w+)`", named[1]) == list(TrainingConfig.model_fields)


def example_spec() -> Spec:
    (text,) = blocks("docs/quickstart.md", "toml")
    return make_spec(tomllib.loads(text), subject="docs/quickstart.md")


def test_example_of_a_spec_is_accepted():
    assert example_spec().name == "airports"


def test_parts_of_a_spec_are_accepted():
    parts = blocks("docs/models.md", "toml")
    assert parts
    for part in parts:
        fields = example_spec().model_dump(exclude_unset=True) | {"recipe": "standard"} | tomllib.loads(part)
        make_spec(fields, subject="docs/models.md")


def test_trigger_form_has_the_fields_of_a_run():
    _, conf = blocks("docs/airflow.md", "json")
    fields = first_cells(section("docs/airflow.md", "The trigger form"))
    assert set(fields) < set(RunArguments.model_fields)
    run = {"job": "features", "flow": "train", "run_id": "r", "spec": example_spec().model_dump(mode="json")}
    arguments = RunArguments.model_validate_json(json.dumps(run | json.loads(conf)))
    assert all(getattr(arguments, field) is not None for field in fields)


def test_form_of_a_deletion_has_the_fields_of_its_job():
    conf, _ = blocks("docs/airflow.md", "json")
    fields = first_cells(section("docs/airflow.md", "Delete a run"))
    given = set(DeletionArguments.model_fields) - {"record", "store_connection"} | {"connection"}
    assert set(fields) == given
    DeletionArguments.model_validate_json(json.dumps({"record": "r"} | json.loads(conf)))


def test_shown_sql_can_be_answered(tmp_path):
    named = [words for document in DOCUMENTS for words in commands(document, "fleetcast") if words[0] == "query"]
    shown = [words[1] for words in named if len(words) > 1]
    assert len(shown) > 8
    for sql in shown:
        assert query(Store(tmp_path), sql).columns


def test_shown_tables_are_those_of_a_store(tmp_path):
    described = describe_tables(Store(tmp_path))
    (shown,) = (block for block in blocks("docs/quickstart.md", "") if block.startswith("│ table "))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines()[1:]]
    assert len(rows) > 6
    for name, _, num_columns, meaning in rows:
        columns = described.filter(table=name)
        assert (columns.height, columns["meaning"][0]) == (int(num_columns), meaning), name


def test_every_table_is_named():
    guides = ("docs/quickstart.md", "docs/query.md")
    named = {span for guide in guides for span in spans(guide)}
    shown = {word for guide in guides for block in blocks(guide, "") for word in re.findall(r"\w+", block)}
    assert set(TABLES) | {"latest_forecasts", "latest_sample_paths"} <= named | shown


def python_blocks() -> list[tuple[str, ast.Module]]:
    """List the documents' blocks of Python, parsed."""
    shown = [(document, block) for document in DOCUMENTS for block in blocks(document, "python")]
    return [(document, ast.parse(block, filename=document)) for document, block in shown]


def attributes_of(tree: ast.Module, name: str) -> set[str]:
    """Return the attributes of a variable that a block reads."""
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == name}


def test_python_blocks_parse():
    assert {"README.md", "docs/python.md"} <= {document for document, _ in python_blocks()}


def test_shown_python_names_exist():
    owners = {"result": fc.Result, "fleet": fc.Fleet, "store": fc.Store, "evaluation": fc.Evaluation}
    for document, tree in python_blocks():
        assert attributes_of(tree, "fc") <= set(fc.__all__), document
        for name, owner in owners.items():
            known = {*dir(owner), *inspect.get_annotations(owner)}
            assert attributes_of(tree, name) <= known, f"{document}: {name}"


def test_shown_python_arguments_exist():
    for document, tree in python_blocks():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                name, function = call.func.value.id, call.func.attr
                if name == "fc":
                    known = inspect.signature(getattr(fc, function)).parameters
                    assert {word.arg for word in call.keywords} <= set(known), f"{document}: fc.{function}"


def test_public_names_are_those_that_are_documented():
    named = {span for span in spans("docs/python.md") if re.fullmatch(r"fc\.\w+", span)}
    shown = {f"fc.{name}" for document, tree in python_blocks() for name in attributes_of(tree, "fc")}
    assert named | shown == {f"fc.{name}" for name in fc.__all__}


def test_arguments_of_a_forecast_are_all_documented():
    text = section("docs/python.md", "Options")
    listed = {
        word for words in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE) for word in re.findall(r"`(\w+)`", words)
    }
    fields = set(re.findall(r"`(\w+)`", text[: text.index("fields of a spec")]))
    assert listed | fields == {*inspect.signature(fc.forecast).parameters} - {"frame"}


def test_settings_table_has_every_variable_and_no_other():
    sections = (Settings, WorkerSettings, FleetSettings)
    variables = {f"FLEETCAST_{name.upper()}" for part in sections for name in part.model_fields}
    shown = set(first_cells(section("docs/settings.md", "Variables")))
    assert shown == variables | {"RAY_ADDRESS"}
    current = [document for document in DOCUMENTS if document != "CHANGELOG.md"]  # it also names what is gone
    named = {word for document in current for word in re.findall(r"FLEETCAST_[A-Z_]+", text_of(document))}
    assert named <= variables | OTHER_VARIABLES


def test_markers_are_those_of_pytest():
    markers = {marker.partition(":")[0] for marker in pyproject()["tool"]["pytest"]["ini_options"]["markers"]}
    assert set(first_cells(section("CONTRIBUTING.md", "Tests"))) == markers


def test_changelog_has_the_version_and_its_date():
    headings = re.findall(r"^## (.+)$", text_of("CHANGELOG.md"), flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", heading) for heading in headings[1:]]
    assert all(dated), headings
    assert pyproject()["project"]["version"] in {match[1] for match in dated if match}


def test_changelog_has_the_sections_of_its_format():
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text_of("CHANGELOG.md"), flags=re.MULTILINE)) <= kinds


def test_licence_is_the_whole_unchanged_text():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert pyproject()["project"]["license"] == "Apache-2.0"


def test_notice_names_the_data_and_every_direct_dependency():
    project, notice = pyproject()["project"], text_of("NOTICE")
    needed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.match(r"[A-Za-z0-9_-]+", requirement)[0] for requirement in needed} - {project["name"]}
    assert {name for name in names if not re.search(rf"^ .*\b{re.escape(name)}  ", notice, re.MULTILINE)} == set()
    shipped = [path.relative_to(ROOT).as_posix() for path in (ROOT / "forecasting" / "datasets").glob("*.parquet")]
    assert shipped
    assert all(path in notice for path in shipped)
