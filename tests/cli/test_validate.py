"""`reconciler validate`: what it says of files, and by its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli import main
from reconciler.cli.place import Place
from tests.cli.conftest import Fleet


def test_valid_files_exit_0_and_say_so_on_stderr_only(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.write("b")
    result = fleet.run("validate")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "2 files, all valid\n")


def test_a_problem_is_a_line_that_editors_understand_with_its_hint_below(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.write("b", levels='"five"')
    result = fleet.run("validate")
    assert result.exit_code == 1
    assert result.stdout == 'instances/b.yaml:7:11: config.levels: expected an integer, was "five"\n'
    assert result.stderr == "2 files, 1 valid; 1 problem\n"
    fleet.write("b", levels='"5"')
    assert fleet.run("validate").stdout.splitlines()[1] == "  hint: remove the quotes"


def test_json_has_the_same_problems_and_the_counts(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.write("b", levels=0)
    result = fleet.run("validate", "--format", "json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    (item,) = told.pop("items")
    assert told == {"valid": 1, "files": 2, "invalid": ["instances/b.yaml"]}
    assert item["path"] == "instances/b.yaml"
    assert (item["line"], item["column"], item["pointer"]) == (7, 11, "config.levels")
    assert item["message"] == "expected at least 1, was 0"


def test_paths_narrow_the_report_but_not_what_is_compared(fleet: Fleet) -> None:
    fleet.write("a", levels=0)
    (fleet.root / "instances" / "desk").mkdir()
    fleet.write("b").rename(fleet.root / "instances" / "desk" / "b.yaml")
    good = fleet.run("validate", str(fleet.root / "instances" / "desk"))
    assert (good.exit_code, good.stderr) == (0, "1 file, all valid\n")
    fleet.write("b")
    result = fleet.run("validate", str(fleet.root / "instances" / "desk" / "b.yaml"))
    assert result.exit_code == 1
    assert result.stdout.startswith("instances/desk/b.yaml:1:5: id: also claimed by instances/b.yaml\n")
    assert "instances/a.yaml" not in result.stdout


def test_paths_are_relative_to_where_one_stands(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.write("a", levels=0)
    monkeypatch.chdir(fleet.root / "instances")
    for path in (".", "a.yaml", "..", "../instances/"):
        result = CliRunner().invoke(main, ["validate", path])
        assert (result.exit_code, result.stdout.partition(":")[0]) == (1, "../instances/a.yaml"), path


def test_a_broken_definition_is_told_at_its_own_line(fleet: Fleet) -> None:
    (fleet.root / "strategies" / "bad.py").write_text("import os\n\ndef (:\n")
    result = fleet.run("validate")
    assert result.exit_code == 1
    assert result.stdout.startswith("strategies/bad.py:3:5: ")


def test_a_halt_file_that_cannot_be_understood_is_a_problem(fleet: Fleet) -> None:
    (fleet.root / "instances" / "_halt.yaml").write_text("- scope: everything\n  reason: why\n")
    result = fleet.run("validate", str(fleet.root / "instances" / "_halt.yaml"))
    assert result.exit_code == 1
    assert result.stdout.startswith("instances/_halt.yaml:1:10: [0].scope: expected one of all, account, instance")


@pytest.mark.parametrize("path", ["instances/nope.yaml", "README.md", "/"])
def test_a_path_with_nothing_to_validate_could_not_run(fleet: Fleet, path: str) -> None:
    (fleet.root / "README.md").write_text("hello")
    result = fleet.run("validate", str(fleet.root / path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "expected" in result.stderr


def test_without_instances_it_could_not_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--root", str(tmp_path), "validate"])
    assert result.exit_code == 2
    assert result.stderr == (
        f"{tmp_path}: expected a folder instances/ here, found none; name the right place with --root DIR\n"
    )


def test_with_unusable_settings_it_could_not_run_and_says_where(fleet: Fleet) -> None:
    (fleet.root / "reconciler.yaml").write_text("dashboard:\n  prot: 1\n")
    result = fleet.run("validate")
    assert result.exit_code == 2
    assert result.stderr == 'reconciler.yaml:2:3: dashboard.prot: unknown key "prot"\n  hint: did you mean "port"?\n'


def test_accounts_are_those_of_the_settings(fleet: Fleet) -> None:
    fleet.write("a")
    (fleet.root / "reconciler.yaml").write_text(
        "exec_mcp: {k: {transport: {kind: paper}, accounts: {mine: {money: paper}}}}"
    )
    result = fleet.run("validate")
    assert result.exit_code == 1
    assert result.stdout.startswith('instances/a.yaml:3:23: account.account_id: unknown account "main"')


def test_an_unknown_format_is_a_usage_error(fleet: Fleet) -> None:
    assert fleet.run("validate", "--format", "xml").exit_code == 2


def test_a_template_is_validated_alone_by_the_records_upon_it_and_where_nobody_uses_it(fleet: Fleet) -> None:
    folder = fleet.root / "instances" / "_templates"
    folder.mkdir()
    (folder / "slow.yaml").write_text("config: {levels: 0}\n")
    (folder / "unused.yaml").write_text("mode: off\n")
    file = fleet.write("a")
    file.write_text(file.read_text().partition("config:")[0] + "template: slow\n")
    result = fleet.run("validate", str(folder / "slow.yaml"))
    assert result.exit_code == 1
    assert result.stdout.startswith("instances/_templates/slow.yaml:1:18: config.levels: ")
    assert "breaks a\n" in result.stdout
    everything = fleet.run("validate").stdout
    assert everything.count("instances/_templates/slow.yaml") == 1
    assert "instances/_templates/unused.yaml:1:1: mode: expected no mode in a template\n" in everything


def test_a_large_fleet_for_which_there_are_helpers_is_told_of_like_a_small_one(fleet: Fleet) -> None:
    """In a process of its own: whoever runs these tests has threads, and is not copied."""
    (fleet.root / "instances" / "desk").mkdir()
    fleet.write("a7").rename(fleet.root / "instances" / "desk" / "a7.yaml")
    for number in range(2_100):
        fleet.write(f"a{number}")
    fleet.write("a9", levels='"nine"')
    (fleet.root / "strategies" / "noisy.py").write_text("print('hello')\nraise OSError\n")
    command = (sys.executable, "-m", "reconciler", "--root", str(fleet.root), "validate")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if not line.startswith("  ")] == [
        "instances/a7.yaml:1:5: id: also claimed by instances/desk/a7.yaml",
        'instances/a9.yaml:7:11: config.levels: expected an integer, was "nine"',
        "instances/desk/a7.yaml:1:5: id: also claimed by instances/a7.yaml",
        "strategies/noisy.py:2:1: expected to be imported, was ended by OSError",
    ]
    assert done.stderr.count("hello") == 1
    assert "2,101 files, 2,098 valid; 4 problems\n" in done.stderr


@pytest.mark.parametrize(
    ("folder", "way"), [(".", ""), ("instances", "../"), ("instances/below", "../../"), ("..", "{name}/")]
)
def test_paths_lead_to_the_file_from_the_current_folder(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, folder: str, way: str
) -> None:
    fleet.write("a", levels='"five"')
    (fleet.root / "instances" / "below").mkdir()
    monkeypatch.chdir(fleet.root / folder)
    path = fleet.run("validate").stdout.partition(":")[0]
    assert path == f"{way.format(name=fleet.root.name)}instances/a.yaml"
    assert Path(path).exists()


def test_from_far_away_paths_are_absolute(
    fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path_factory.mktemp("far") / "/".join("abcdefghijklmnopqrstuvwxyz" * 2)
    deep.mkdir(parents=True)
    fleet.write("a", levels='"five"')
    monkeypatch.chdir(deep)
    assert fleet.run("validate").stdout.startswith(f"{fleet.root.resolve()}/instances/a.yaml:")


@pytest.fixture
def link(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A link to the fleet, as those that releases and git-sync swap."""
    link = tmp_path_factory.mktemp("releases") / "current"
    link.symlink_to(fleet.root)
    return link


def test_a_root_that_is_a_link_is_kept_as_it_was_given(
    fleet: Fleet, link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Place(link).root() == link
    assert Place(link / "instances" / "..").root() == fleet.root.resolve()
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    assert Place(None).root() == link
    monkeypatch.setenv("PWD", "/elsewhere")
    assert Place(None).root() == fleet.root.resolve()


def test_a_file_is_named_through_a_link_as_well(fleet: Fleet, link: Path) -> None:
    fleet.write("a")
    result = Fleet(link).run("validate", str(link / "instances" / "a.yaml"))
    assert (result.exit_code, result.stderr) == (0, "1 file, all valid\n")


def test_without_a_base_it_says_that_active_may_yet_be_refused(fleet: Fleet) -> None:
    fleet.write("a", mode="active")
    fleet.write("b")
    result = fleet.run("validate")
    assert (result.exit_code, result.stdout) == (0, "")
    first, note = result.stderr.splitlines()
    assert first == "2 files, all valid"
    assert note.startswith("note: a says mode: active, which only follows on observe; ")
    assert note.endswith("is told by --base REF")


def in_git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "protocol.file.allow=always")
    subprocess.run(("git", *identity, *arguments), cwd=folder, capture_output=True, check=True)


@pytest.fixture
def committed(fleet: Fleet) -> Fleet:
    for id in ("a", "b"):
        fleet.write(id)
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "The fleet")):
        in_git(fleet.root, *arguments)
    return fleet


def test_nothing_checked_out_where_head_has_records_is_not_green(committed: Fleet) -> None:
    for id in ("a", "b"):
        (committed.root / "instances" / f"{id}.yaml").unlink()
    result = committed.run("validate")
    assert result.exit_code == 2
    assert "instances: expected the 2 files that HEAD has there, found none; run `git checkout" in result.stderr


def test_a_sparse_checkout_is_not_green_whether_it_lacks_all_records_or_some(committed: Fleet) -> None:
    for left in ("strategies", "strategies instances/a.yaml"):
        in_git(committed.root, "sparse-checkout", "set", "--no-cone", *left.split())
        (committed.root / "instances").mkdir(exist_ok=True)
        result = committed.run("validate")
        assert result.exit_code == 2, left
        assert "was left out by a sparse checkout; run `git sparse-checkout disable`" in result.stderr
    in_git(committed.root, "sparse-checkout", "disable")
    assert committed.run("validate").exit_code == 0


def test_a_submodule_that_is_not_fetched_is_not_green(
    committed: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk = tmp_path_factory.mktemp("desk")
    (desk / "c.yaml").write_text("id: c\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "Desk")):
        in_git(desk, *arguments)
    in_git(committed.root, "rm", "-q", "-r", "instances")
    in_git(committed.root, "submodule", "add", "-q", str(desk), "instances")
    in_git(committed.root, "commit", "-q", "-m", "A desk of its own")
    in_git(committed.root, "submodule", "deinit", "-q", "-f", "instances")
    (committed.root / "instances").mkdir(exist_ok=True)
    result = committed.run("validate")
    assert result.exit_code == 2
    assert "instances: expected files of this repository, was a submodule" in result.stderr


def test_the_wrong_folder_is_not_green(committed: Fleet) -> None:
    (committed.root / "other" / "instances").mkdir(parents=True)
    result = Fleet(committed.root / "other").run("validate")
    assert result.exit_code == 2
    assert "expected instance files, found none, and HEAD has some in " in result.stderr
    assert f"name the fleet with --root {committed.root}" in result.stderr


def test_a_fleet_that_has_no_records_yet_is_none_to_complain_of(fleet: Fleet) -> None:
    result = fleet.run("validate")
    assert (result.exit_code, result.stderr) == (0, "no instance files\n")


def test_a_folder_that_is_not_checked_out_is_no_folder_that_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleets" / "one"
    (fleet / "instances").mkdir(parents=True)
    (fleet / "instances" / "a.yaml").write_text("id: a\n")
    (fleet / "README.md").write_text("A fleet\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run((*git, *words), cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["validate"], prog_name="reconciler")
    assert result.exit_code == 2
    assert f"HEAD has some in fleets/one; name the fleet with --root {fleet}" in result.stderr
    subprocess.run((*git, "sparse-checkout", "set", "--no-cone", "/fleets/one/README.md"), cwd=tmp_path, check=True)
    result = CliRunner().invoke(main, ["--root", str(fleet), "validate"], prog_name="reconciler")
    assert result.exit_code == 2
    assert "was left out by a sparse checkout; run `git sparse-checkout disable`" in result.stderr
