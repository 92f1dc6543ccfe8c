"""`init --deploy`: what it writes is what stands in `deploy/` here, and says nothing that there is not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from reconciler.cli import main

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def test_init_writes_what_stands_in_this_repository_byte_for_byte(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["init", str(tmp_path), "--deploy"])
    assert result.exit_code == 0, result.output
    written = {file.name: file.read_bytes() for file in (tmp_path / "deploy").iterdir()}
    assert written == {file.name: file.read_bytes() for file in DEPLOY.iterdir()}
    assert {f"deploy/{name}" for name in written} <= set(result.stdout.split())


def test_without_the_option_there_is_none_and_what_is_there_is_kept(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["init", str(tmp_path)])
    assert not (tmp_path / "deploy").exists()
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "compose.yaml").write_text("mine")
    result = CliRunner().invoke(main, ["init", str(tmp_path), "--deploy"])
    assert "kept: deploy/compose.yaml" in result.stderr
    assert (tmp_path / "deploy" / "compose.yaml").read_text() == "mine"
    assert (tmp_path / "deploy" / "reconciler.service").exists()


def test_a_fleet_within_a_repository_is_told_what_to_change(tmp_path: Path) -> None:
    subprocess.run(("git", "init", "-q", str(tmp_path)), check=True)
    (tmp_path / "fleets").mkdir()
    result = CliRunner().invoke(main, ["init", str(tmp_path / "fleets" / "one"), "--deploy"])
    assert "let --root lead to fleets/one/ there" in result.stderr


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "reconciler.service").read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def containers_command() -> str:
    (line,) = re.findall(r"^CMD (.+)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    (command,) = json.loads(line)
    assert isinstance(command, str)
    return command


def understood(line: str) -> click.Context:
    """The command as the engine's own command line takes it; the test fails where it does not."""
    words = shlex.split(re.sub(r"\$\{?\w+\}?", "name", line))
    assert Path(words[0]).name == "reconciler"
    context, rest = click.Context(main), words[1:]
    if rest[0] == "--root":
        rest = rest[2:]
    command = main.get_command(context, rest[0])
    assert command is not None
    return command.make_context(rest[0], rest[1:], parent=context)


COMMANDS = {
    "the unit": lambda: unit()["ExecStart"][0],
    "the container": lambda: containers_command().rpartition("exec ")[2],
}


@pytest.mark.parametrize("where", COMMANDS)
def test_the_engine_is_started_with_options_that_it_has(where: str) -> None:
    parameters = understood(COMMANDS[where]()).params
    assert {name: parameters[name] for name in ("source", "branch", "remote")} == {
        "source": "git",
        "branch": "name",
        "remote": "name" if parameters["remote"] == "name" else "origin",
    }


def test_what_the_comments_tell_to_type_is_understood() -> None:
    told = [
        line
        for file in DEPLOY.iterdir()
        for line in re.findall(r"^#.*?((?:/opt/reconciler/bin/)?reconciler --root .+)$", file.read_text(), re.MULTILINE)
    ]
    assert len(told) >= 2
    for line in told:
        understood(line)


def test_commands_that_alerts_tell_to_type_exist() -> None:
    rules = [rule for group in alerts() for rule in group["rules"]]
    told = [word for rule in rules for word in re.findall(r"reconciler ([a-z]+)", rule["annotations"]["action"])]
    assert len(told) > 10
    context = click.Context(main)
    assert [word for word in told if main.get_command(context, word) is None] == []


def alerts() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return groups


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    rules = [rule for group in alerts() for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "warning", "info"), rule
        assert set(rule["annotations"]) == {"summary", "action"}, rule


def test_the_clone_is_made_once_and_whole_or_not_at_all(tmp_path: Path) -> None:
    """The shell of the unit and of the container, on a repository of a test."""
    origin = tmp_path / "origin"
    subprocess.run(("git", "init", "-q", "-b", "main", str(origin)), check=True)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(("git", *identity, "commit", "-q", "--allow-empty", "-m", "x"), cwd=origin, check=True)
    (pre,) = unit()["ExecStartPre"]
    assert pre.startswith("/bin/sh -c '")
    in_unit = pre.removeprefix("/bin/sh -c '").removesuffix("'")
    in_container = containers_command().partition("; exec ")[0]
    for number, script in enumerate((in_unit, in_container)):
        fleet = tmp_path / str(number) / "fleet"
        fleet.parent.mkdir()
        names = {"FLEET": str(fleet), "BRANCH": "main", "PATH": "/usr/bin:/bin"}
        gone = subprocess.run(("sh", "-euc", script), env={**names, "FLEET_URL": str(tmp_path / "no")}, check=False)
        assert gone.returncode != 0
        assert not fleet.exists()
        (tmp_path / str(number) / "fleet.part").mkdir()  # as a kill leaves it
        for _ in range(2):
            subprocess.run(("sh", "-euc", script), env={**names, "FLEET_URL": str(origin)}, check=True)
            assert (fleet / ".git" / "HEAD").exists()
            (fleet / ".git" / "mark").touch()
        assert not (tmp_path / str(number) / "fleet.part").exists()


def test_the_container_is_bounded_and_shows_its_page_on_loopback_alone() -> None:
    engine = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["engine"]
    assert (engine["read_only"], engine["cap_drop"]) == (True, ["ALL"])
    assert engine["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in engine["ports"])
    assert re.search(r"^USER 10001$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_the_unit_is_one_and_is_hardened(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.service"
    file.write_text((DEPLOY / "reconciler.service").read_text().replace("/opt/reconciler/bin/reconciler", "/bin/true"))
    verified = subprocess.run(("systemd-analyze", "verify", str(file)), capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    asked = ("systemd-analyze", "security", "--offline=yes", "--threshold=20", str(file))
    judged = subprocess.run(asked, capture_output=True, text=True, check=False)
    if "offline" not in judged.stderr:  # known since systemd 250
        assert judged.returncode == 0, judged.stdout.splitlines()[-1]
