"""`reconciler init`: what it writes works at once, as its user would try it, from the outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler import __version__
from reconciler.cli import main

BIN = Path(sys.executable).parent


def init(folder: Path) -> Result:
    return CliRunner().invoke(main, ["init", str(folder)], prog_name="reconciler")


def shell(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "RECONCILER_DASHBOARD_PORT": "0"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "fleet"
    result = init(folder)
    assert result.exit_code == 0
    assert sorted(result.stdout.split()) == sorted(files(folder))
    return folder


WRITTEN = {
    ".github/workflows/fleet.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".vscode/extensions.json",
    ".vscode/settings.json",
    "README.md",
    "instances/eur-usd-dip.yaml",
    "reconciler.yaml",
    "requirements.txt",
    "schemas/instance.schema.json",
    "schemas/reconciler.schema.json",
    "schemas/strategies/dip.schema.json",
    "strategies/dip.py",
    "tests/test_dip.py",
}


def test_everything_is_there(fleet: Path) -> None:
    assert files(fleet).keys() >= WRITTEN
    assert f"strategy-reconciler=={__version__}\n" in (fleet / "requirements.txt").read_text()
    assert ".reconciler/\n" in (fleet / ".gitignore").read_text()
    json.loads((fleet / ".vscode" / "settings.json").read_text())


def test_it_validates(fleet: Path) -> None:
    done = shell(fleet, "reconciler", "validate")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 file, all valid\n")


def test_its_schemas_are_current(fleet: Path) -> None:
    done = shell(fleet, "reconciler", "schema", "--check")
    assert (done.returncode, done.stdout) == (0, "")


def test_its_tests_are_green(fleet: Path) -> None:
    done = shell(fleet, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def committed(folder: Path, *options: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    for words in (("init", "-q", *options), ("add", "."), (*identity, "commit", "-q", "-m", "Begin the fleet")):
        done = shell(folder, "git", *words)
        assert done.returncode == 0, done.stderr


def test_it_runs_once_it_is_committed_and_says_so_before(tmp_path: Path) -> None:
    result = init(tmp_path)
    assert "git init --initial-branch=main\n" in result.stderr
    early = shell(tmp_path, "reconciler", "run", "--once")
    assert early.returncode == 1
    assert "expected a git repository, whose commits count, found none" in early.stderr
    committed(tmp_path, "--initial-branch=main")
    (tmp_path / "instances" / "eur-usd-dip.yaml").write_text("edited, and not committed")
    done = shell(tmp_path, "reconciler", "run", "--once")
    assert done.returncode == 0, done.stderr
    status = shell(tmp_path, "reconciler", "status", "--format", "json")
    (item,) = json.loads(status.stdout)["items"]
    assert (item["id"], item["mode"], item["sync"]) == ("eur-usd-dip", "observe", "Synced")


@pytest.mark.parametrize(("branch", "written"), [("trunk", "trunk"), ("on", '"on"'), ("fleets/one", "fleets/one")])
def test_in_a_repository_it_is_the_branch_one_is_on(tmp_path: Path, branch: str, written: str) -> None:
    shell(tmp_path, "git", "init", "-q", f"--initial-branch={branch}")
    init(tmp_path)
    assert f"  branch: {written}\n" in (tmp_path / "reconciler.yaml").read_text()
    assert shell(tmp_path, "reconciler", "validate").returncode == 0


def test_a_fresh_commit_holds_all_of_it_and_none_of_the_engine_s_state(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / ".reconciler").mkdir()
    (tmp_path / ".reconciler" / "reconciler.db").write_text("")
    shell(tmp_path, "git", "init", "--initial-branch=main")
    shell(tmp_path, "git", "add", ".")
    assert set(shell(tmp_path, "git", "ls-files").stdout.split()) >= WRITTEN
    assert ".reconciler" not in shell(tmp_path, "git", "ls-files").stdout


def test_another_instance_can_be_added_as_the_readme_says(tmp_path: Path) -> None:
    init(tmp_path)
    assert "reconciler new dip usd-jpy-dip --market USD/JPY" in (tmp_path / "README.md").read_text()
    assert shell(tmp_path, "reconciler", "new", "dip", "usd-jpy-dip", "--market", "USD/JPY").returncode == 0
    assert shell(tmp_path, "reconciler", "validate").stderr == "2 files, all valid\n"


@pytest.mark.parametrize("path", [".github/workflows/fleet.yml"])
def test_its_workflow_is_one(fleet: Path, path: str) -> None:
    done = shell(fleet, "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert done.returncode == 0, done.stdout


def test_its_workflow_asks_for_no_more_than_it_needs(fleet: Path) -> None:
    workflow = yaml.load((fleet / ".github/workflows/fleet.yml").read_text(), yaml.BaseLoader)
    assert workflow["permissions"] == {}
    assert set(workflow["on"]) == {"pull_request", "merge_group", "push"}


def test_its_pre_commit_hooks_pass_and_fail_as_they_should(tmp_path: Path) -> None:
    init(tmp_path)
    shell(tmp_path, "git", "init")
    shell(tmp_path, "git", "add", ".")
    assert shell(tmp_path, "pre-commit", "validate-config").returncode == 0
    done = shell(tmp_path, "pre-commit", "run", "--all-files")
    assert (done.returncode, done.stdout.count("Passed")) == (0, 2), done.stdout
    instance = tmp_path / "instances" / "eur-usd-dip.yaml"
    instance.write_text(instance.read_text().replace("# minutes: 30", "minutes: half an hour"))
    (tmp_path / "strategies" / "dip.py").write_text(
        (tmp_path / "strategies" / "dip.py").read_text().replace('"default": 30', '"default": 31')
    )
    shell(tmp_path, "git", "add", ".")
    done = shell(tmp_path, "pre-commit", "run", "--all-files")
    assert done.returncode == 1
    assert "config.minutes: expected an integer" in done.stdout
    assert "schemas/strategies/dip.schema.json: stale" in done.stdout


def test_twice_changes_nothing_and_names_what_is_kept(tmp_path: Path) -> None:
    init(tmp_path)
    before = files(tmp_path)
    result = init(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert {line.removeprefix("kept: ") for line in result.stderr.split("\n") if line.startswith("kept")} == set(before)
    assert files(tmp_path) == before


def test_what_is_there_is_kept_and_what_it_lacks_is_said(tmp_path: Path) -> None:
    mine = {".gitignore": b"*.log\n", "requirements.txt": b"numpy\n", "README.md": b"mine\n"}
    for name, data in mine.items():
        (tmp_path / name).write_bytes(data)
    result = init(tmp_path)
    assert {name: files(tmp_path)[name] for name in mine} == mine
    assert "kept: .gitignore; add the line .reconciler/\n" in result.stderr
    assert f"kept: requirements.txt; add the line strategy-reconciler=={__version__}\n" in result.stderr
    assert "kept: README.md\n" in result.stderr
    assert "instances/eur-usd-dip.yaml\n" in result.stdout


def test_a_fleet_of_one_s_own_gets_no_example(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "own.py").write_text(OWN)
    result = init(tmp_path)
    assert result.exit_code == 0
    written = files(tmp_path)
    assert "schemas/strategies/own.schema.json" in written
    assert {"strategies/dip.py", "tests/test_dip.py", "instances/eur-usd-dip.yaml"}.isdisjoint(written)
    assert shell(tmp_path, "reconciler", "schema", "--check").returncode == 0


OWN = """\
from reconciler.strategy import Strategy


class Own(Strategy):
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        pass
"""


def test_a_broken_strategy_of_one_s_own_leaves_the_schemas_out(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "own.py").write_text("def (:\n")
    result = init(tmp_path)
    assert result.exit_code == 0
    assert "no schemas: a strategy is broken; once it is mended: reconciler schema\n" in result.stderr
    assert not (tmp_path / "schemas").exists()


def test_within_a_fleet_there_is_no_other(fleet: Path) -> None:
    before = files(fleet)
    result = init(fleet / "instances" / "inner")
    assert result.exit_code == 1
    assert f"expected a folder outside of any fleet, was one within that of {fleet}" in result.stderr
    assert files(fleet) == before


def test_below_the_top_of_a_repository_what_belongs_there_is_left_out(tmp_path: Path) -> None:
    shell(tmp_path, "git", "init")
    result = init(tmp_path / "fleets" / "one")
    written = files(tmp_path / "fleets" / "one")
    assert "instances/eur-usd-dip.yaml" in written
    assert {".github/workflows/fleet.yml", ".pre-commit-config.yaml"}.isdisjoint(written)
    assert f"these belong at the top of {tmp_path}\n" in result.stderr
    assert "git init" not in result.stderr


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    result = init(tmp_path / "my fleet")
    assert result.stderr.split("\n")[:3] == ["next:", f"  cd '{tmp_path}/my fleet'", "  git init --initial-branch=main"]


def test_links_that_lead_away_are_not_followed(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (tmp_path / ".vscode").symlink_to(outside)
    result = init(tmp_path)
    assert result.exit_code == 1
    assert list(outside.iterdir()) == []


def test_no_folder_is_made_through_a_link(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("strategies", ".github", "instances"):
        folder = tmp_path / f"fleet of {name}"
        folder.mkdir()
        (folder / name).symlink_to(outside)
        result = init(folder)
        assert (result.exit_code, "link" in result.stderr) == (1, True)
        assert list(outside.iterdir()) == []


def test_what_is_in_the_way_is_kept_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").symlink_to("nowhere")
    (tmp_path / "requirements.txt").mkdir()
    result = init(tmp_path)
    assert result.exit_code == 0
    assert "kept: .gitignore; add the line .reconciler/\n" in result.stderr
    assert "kept: requirements.txt; add the line strategy-reconciler" in result.stderr
