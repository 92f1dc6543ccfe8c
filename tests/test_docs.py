"""The documentation tells the truth: its commands exist, its links lead somewhere, what is generated is current."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest

from reconciler import __version__, errors
from reconciler.cli import main
from reconciler.cli.main import COMMANDS
from reconciler.settings import scalars

ROOT = Path(__file__).parent.parent
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
GENERATED: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated"]()

MAKE_TARGET = re.compile(r"\bmake ([a-z]+)\b")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(#([^)]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands_in(page: Path) -> Iterator[str]:
    """Every `reconciler …` that a reader may type, from code spans and code blocks."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from (line for line in block.splitlines() if line.startswith("reconciler "))
    yield from re.findall(r"`(reconciler [a-z][^`]*)`", text)


ALL_COMMANDS = [pytest.param(line, id=f"{name_of(page)}: {line}") for page in PAGES for line in commands_in(page)]


@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_every_command_that_a_page_shows_is_understood(line: str) -> None:
    words = shlex.split(line.replace("…", "why"), comments=True)[1:]
    context = click.Context(main)
    if all(word in COMMANDS for word in words):  # a list of commands
        return
    command = main.get_command(context, words[0])
    assert command is not None, f"there is no command {words[0]}"
    needs_more = {"pause", "resume", "halt", "unhalt"}
    if words[0] in needs_more and "--reason" not in words:
        words += [] if len(words) > 1 else ["--all"]
        words += ["--reason", "why"]
    command.make_context(words[0], words[1:], parent=context)


def test_the_readme_names_every_command() -> None:
    shown = {line.split()[1] for line in commands_in(ROOT / "README.md")}
    assert set(COMMANDS) <= shown


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target
    headings = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)}
    for anchor in ANCHOR.findall(text):
        assert anchor in headings, anchor


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {
        target
        for page in PAGES
        for span in re.findall(r"`(make [a-z]+)`|^(make [a-z]+)", page.read_text(encoding="utf-8"), re.M)
        for target in MAKE_TARGET.findall(" ".join(span))
    }
    assert {"run", "test", "bench"} <= named <= targets


def test_every_folder_of_the_engine_has_its_row() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for entry in (ROOT / "reconciler").iterdir():
        if entry.is_dir() and (entry / "__init__.py").exists():
            assert f"`{entry.name}/`" in architecture, entry.name


def test_the_rows_are_those_that_the_import_contract_holds() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows: dict[int, set[str]] = {}
    for number, names in re.findall(r"^\| (\d+) \| (.*?) \|", architecture, re.M):
        rows.setdefault(int(number), set()).update(re.findall(r"`(\w+)(?:/|\.py)`", names))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    held = [set(re.split(r" [|:] ", layer)) for layer in contracts[0]["layers"]]
    assert [rows[number] for number in sorted(rows, reverse=True)][:-1] == held[:-1]
    assert held[-1] <= set(re.findall(r"`(\w+)\.py`", architecture)), "what is on the lowest row has a word"


def test_the_exception_tree_is_drawn_whole() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"(\w+) {2,}[\w`]|^ {4}(ReconcilerError)$", errors.__doc__, re.M))
    names = {name for pair in drawn for name in pair if name}
    assert names == {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}


@pytest.mark.parametrize(("page", "fewest"), [("docs/architecture.md", 40), ("CONTRIBUTING.md", 12)])
def test_every_file_that_tells_where_changes_go_exists(page: str, fewest: int) -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|json|md)|\w+/[\w/]+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert len(named) >= fewest
    for name in named:
        assert any((above / name).exists() for above in (ROOT, ROOT / "reconciler", ROOT / "docs")), name


@pytest.mark.parametrize("path", GENERATED, ids=name_of)
def test_what_is_generated_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == GENERATED[path], "stale; run: make docs"


def test_every_setting_is_documented_with_its_variable() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for scalar in scalars():
        assert f"| `{scalar.name}` | `{scalar.variable}` |" in page


def test_the_changelog_begins_with_this_version() -> None:
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest[1] == __version__


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    for requirement in wanted:
        name = re.split(r"[<>=~ ]", requirement)[0].lower().replace("_", "-")
        assert name in pinned, name


def test_what_the_engine_imports_is_among_its_dependencies() -> None:
    """What only a dependency of a dependency brings may be gone with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "dev"}
    wanted = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    named = {re.split(r"[<>=~ ]", requirement)[0].lower() for requirement in wanted}
    known = packages_distributions()
    imports = re.compile(r"^\s*(?:from|import) ([a-z_][a-z0-9_]*)", re.MULTILINE)
    for path in (ROOT / "reconciler").rglob("*.py"):
        if path.is_relative_to(ROOT / "reconciler" / "review" / "scaffold_files"):
            continue  # what `init` writes for others
        for module in {*imports.findall(path.read_text(encoding="utf-8"))} & known.keys() - {"reconciler"}:
            brought = {name.lower().replace("_", "-") for name in known[module]}
            assert brought & named, f"{path.relative_to(ROOT)} imports {module} of {brought}"


def test_the_readme_s_strategy_passes_the_readme_s_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    strategy, test = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "pulse.py").write_text(strategy, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    written: dict[str, Callable[[], None]] = {}
    exec(compile(test, "README.md", "exec"), written)
    written["test_it_shows_the_spread"]()
