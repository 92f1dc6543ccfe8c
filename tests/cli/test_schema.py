"""`reconciler schema`: what editors know, written beside the instances and held to be current."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Fleet

FILES = [
    "schemas/instance.schema.json",
    "schemas/template.schema.json",
    "schemas/halt.schema.json",
    "schemas/reconciler.schema.json",
    "schemas/strategies/drift.schema.json",
]


def contents(fleet: Fleet) -> dict[str, str]:
    paths = [path for path in (fleet.root / "schemas").rglob("*") if path.is_file()]
    return {path.relative_to(fleet.root).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_it_writes_every_schema_once(fleet: Fleet) -> None:
    result = fleet.run("schema")
    assert (result.exit_code, result.stderr) == (0, "5 schemas are current now\n")
    assert result.stdout.splitlines() == [f"{path}: written" for path in FILES]
    written = contents(fleet)
    assert set(written) == set(FILES)
    assert json.loads(written[FILES[0]])["properties"]["strategy_type"]["enum"] == ["drift"]
    again = fleet.run("schema")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "5 schemas are current\n")


def test_checking_writes_nothing_and_names_what_is_missing_stale_or_left_over(fleet: Fleet) -> None:
    fleet.run("schema")
    assert fleet.run("schema", "--check").exit_code == 0
    drift = fleet.root / "strategies" / "drift.py"
    drift.rename(drift.with_name("shift.py"))
    before = contents(fleet)
    result = fleet.run("schema", "--check")
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == [
        "schemas/instance.schema.json: stale",
        "schemas/strategies/drift.schema.json: left over",
        "schemas/strategies/shift.schema.json: missing",
        "schemas/template.schema.json: stale",
    ]
    assert result.stderr == "4 to be brought up to date: reconciler schema\n"
    assert contents(fleet) == before
    assert "schemas/strategies/drift.schema.json: removed" in fleet.run("schema").stdout
    assert fleet.run("schema", "--check").exit_code == 0
    assert "schemas/strategies/drift.schema.json" not in contents(fleet)


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "--check"]])
def test_a_broken_strategy_is_named_and_nothing_is_written_or_removed(fleet: Fleet, arguments: list[str]) -> None:
    fleet.run("schema")
    before = contents(fleet)
    (fleet.root / "strategies" / "drift.py").write_text("def (:\n")
    (fleet.root / "strategies" / "shift.py").write_text("x = 1\n")
    result = fleet.run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    first, second, last = result.stderr.splitlines()
    assert first.startswith("strategies/drift.py:1:5: ")
    assert second.startswith("strategies/shift.py:1:1: ")
    assert last == "no schema was written: mend the strategies first"
    assert contents(fleet) == before


def test_a_file_that_it_did_not_write_is_neither_overwritten_nor_removed(fleet: Fleet) -> None:
    own = fleet.root / "schemas" / "own.schema.json"
    own.parent.mkdir()
    own.write_text("{}")
    assert fleet.run("schema").exit_code == 0
    assert own.read_text() == "{}"
    instance = fleet.root / FILES[0]
    instance.write_text('{"title": "mine"}')
    result = fleet.run("schema")
    assert result.exit_code == 1
    expected = f"{FILES[0]}: expected a file that this command wrote, was another; move it away\n"
    assert result.stderr == expected
    assert instance.read_text() == '{"title": "mine"}'


def test_a_folder_that_cannot_be_written_to_is_said_in_a_sentence(fleet: Fleet) -> None:
    (fleet.root / "schemas").write_text("in the way")
    result = fleet.run("schema")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "expected to be able to write it" in result.stderr


def test_windows_line_ends_are_not_stale(fleet: Fleet) -> None:
    fleet.run("schema")
    path = fleet.root / FILES[0]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert fleet.run("schema", "--check").exit_code == 0


def test_the_schemas_of_this_repository_are_current() -> None:
    command = [sys.executable, "-m", "reconciler", "schema", "--check"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_imports_nothing_that_is_slow() -> None:
    script = (
        "import json, sys\nfrom reconciler.cli import main\nmain(['schema', '--check'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert "reconciler.review.editor" in loaded
    for name in ("mcp", "rich", "starlette", "httpx", "sqlite3", "watchfiles", "jinja2", "jsonschema"):
        assert name not in loaded
    for name in ("dashboard", "app", "store", "execution"):
        assert f"reconciler.{name}" not in loaded


def marked(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"$comment": "Generated by `reconciler schema`, do not edit."}))
    return path


@pytest.mark.parametrize("link", ["schemas", "schemas/strategies"])
def test_a_linked_folder_is_refused_and_nothing_outside_is_written_or_removed(
    fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, link: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    left = marked(outside / "left.schema.json")
    (fleet.root / link).parent.mkdir(exist_ok=True)
    (fleet.root / link).symlink_to(outside)
    for arguments in (["schema"], ["schema", "--check"]):
        result = fleet.run(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert result.stderr.startswith(f"{link}/: expected a folder of the fleet, was a link")
    assert [path.name for path in outside.iterdir()] == [left.name]


def test_a_linked_file_is_neither_written_through_nor_removed(
    fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = marked(tmp_path_factory.mktemp("outside") / "a.schema.json")
    text = outside.read_text()
    (fleet.root / "schemas").mkdir()
    (fleet.root / "schemas" / "other.schema.json").symlink_to(outside)
    assert fleet.run("schema").exit_code == 0
    (fleet.root / FILES[0]).unlink()
    (fleet.root / FILES[0]).symlink_to(outside)
    result = fleet.run("schema")
    assert (result.exit_code, result.stderr) == (
        1,
        f"{FILES[0]}: expected a file that this command wrote, was no file; move it away\n",
    )
    assert outside.read_text() == text


def test_what_is_only_named_like_a_schema_is_left_alone(fleet: Fleet) -> None:
    folder = fleet.root / "schemas"
    (folder / "folder.schema.json").mkdir(parents=True)
    (folder / "nowhere.schema.json").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.schema.json")
    (folder / "deep.schema.json").write_text("[" * 200_000)
    result = fleet.run("schema")
    assert (result.exit_code, result.stderr) == (0, "5 schemas are current now\n")


def test_a_name_can_command_nothing(fleet: Fleet) -> None:
    marked(fleet.root / "schemas" / "a\n::error::x.schema.json")
    result = fleet.run("schema", "--check")
    assert r"schemas/a\n::error::x.schema.json: left over" in result.stdout.splitlines()


def test_no_half_written_file_is_left(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reconciler.cli.init.os.replace", full)
    result = fleet.run("schema")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert list((fleet.root / "schemas").iterdir()) == []
