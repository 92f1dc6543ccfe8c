"""`reconciler new`: a file that is valid as it is written, and never somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Fleet

SETTINGS = """\
exec_mcp:
  practice:
    transport: {{kind: paper}}
    accounts: {{{accounts}}}
"""

EXAMPLED = '''\
from reconciler.strategy import Strategy


class Calm(Strategy):
    """Does nothing, calmly."""

    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {
        "type": "object",
        "required": ["levels"],
        "properties": {
            "levels": {"type": "integer", "examples": [3]},
            "pace": {"type": "string", "default": "off", "description": "How fast."},
        },
    }

    def on_tick(self):
        pass
'''


@pytest.fixture
def calm(fleet: Fleet) -> Fleet:
    (fleet.root / "strategies" / "calm.py").write_text(EXAMPLED)
    return fleet


def declare(fleet: Fleet, *accounts: str) -> None:
    declared = ", ".join(f"{account}: {{money: paper}}" for account in accounts)
    (fleet.root / "reconciler.yaml").write_text(SETTINGS.format(accounts=declared))


def test_the_file_is_valid_as_written(calm: Fleet) -> None:
    result = calm.run("new", "calm", "calm-1", "--account", "a", "--client", "c", "--market", "EUR/USD")
    assert (result.exit_code, result.stdout) == (0, "instances/calm-1.yaml\n")
    assert result.stderr == "then: reconciler validate instances/calm-1.yaml\n"
    text = (calm.root / "instances" / "calm-1.yaml").read_text()
    assert "account:\n  account_id: a\n  client_id: c\nmarket: EUR/USD\nmode: off " in text
    assert '  # How fast. (string)\n  # pace: "off"\n' in text
    assert "# Does nothing, calmly.\n" in text
    assert calm.run("validate").exit_code == 0


def test_what_is_only_an_example_is_said_to_be_one(calm: Fleet) -> None:
    result = calm.run("new", "calm", "calm-1", "--market", "EUR/USD")
    assert "only an example, and fixed for ever once merged: account.account_id, account.client_id\n" in result.stderr
    assert calm.run("validate").exit_code == 0


def test_what_must_be_filled_in_is_said_once(fleet: Fleet) -> None:
    result = fleet.run("new", "drift", "drift-1", "--account", "a", "--client", "c", "--market", "EUR/USD")
    assert result.exit_code == 0
    assert result.stderr == "to be filled in: config.levels\nthen: reconciler validate instances/drift-1.yaml\n"
    found = fleet.run("validate")
    assert found.exit_code == 1
    assert "config.levels: expected an integer, was null" in found.stdout


def test_what_else_is_wrong_is_said_too(calm: Fleet) -> None:
    result = calm.run("new", "calm", "calm-1", "--account", "a", "--client", "c", "--market", "M" * 65)
    assert result.exit_code == 0
    assert "instances/calm-1.yaml:11:9: market: expected at most 64 characters" in result.stderr


def test_it_goes_into_its_folder(calm: Fleet) -> None:
    result = calm.run("new", "calm", "calm-1", "--folder", "majors/slow/")
    assert result.stdout == "instances/majors/slow/calm-1.yaml\n"
    modeline = (calm.root / "instances/majors/slow/calm-1.yaml").read_text().split("\n")[0]
    assert modeline.endswith("$schema=../../../schemas/instance.schema.json")
    assert calm.run("validate").exit_code == 0


@pytest.mark.parametrize("folder", ["_templates", ".hidden", "..", "a/../../..", "a/_b", "x.yaml", "#x"])
def test_a_folder_whose_files_do_not_count_is_refused(calm: Fleet, folder: str) -> None:
    result = calm.run("new", "calm", "calm-1", "--folder", folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("--folder: expected a folder whose files count")
    assert list(calm.root.rglob("calm-1.yaml")) == []


def test_a_folder_that_leads_out_of_the_fleet_is_refused(calm: Fleet, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (calm.root / "instances" / "away").symlink_to(outside)
    result = calm.run("new", "calm", "calm-1", "--folder", "away")
    assert result.exit_code == 1
    assert "was a link that leads out of it" in result.stderr
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("id_", ["Calm-1", "calm_1", "calm.1", "-calm", "c" * 64, "", "../calm", "calm-1\n"])
def test_a_bad_id_is_refused(calm: Fleet, id_: str) -> None:
    result = calm.run("new", "calm", "--", id_)
    assert result.exit_code == 1
    assert "expected an id of small letters, digits and hyphens" in result.stderr
    assert list((calm.root / "instances").iterdir()) == []


def test_an_unknown_strategy_is_told_the_nearest(calm: Fleet) -> None:
    result = calm.run("new", "clam", "calm-1")
    assert result.exit_code == 1
    assert result.stderr == 'strategy clam: expected one of calm, drift; did you mean "calm"?\n'


def test_a_broken_strategy_says_where(calm: Fleet) -> None:
    (calm.root / "strategies" / "bad.py").write_text("def (:\n")
    result = calm.run("new", "bad", "bad-1")
    assert result.exit_code == 1
    assert result.stderr.startswith("strategies/bad.py:1:5: ")


def test_an_id_that_any_file_has_or_claims_is_refused(calm: Fleet) -> None:
    calm.write("drift-1")
    (calm.root / "instances" / "sub").mkdir()
    (calm.root / "instances" / "sub" / "other.yml").write_text("id: claimed\nmode: [")
    (calm.root / "instances" / "third.yaml").write_text("id: claimed-too\n")
    for id_, path in (("drift-1", "drift-1.yaml"), ("other", "sub/other.yml"), ("claimed-too", "third.yaml")):
        result = calm.run("new", "calm", id_)
        assert result.exit_code == 1
        assert result.stderr == f"{id_}: expected an id that is free, it is that of instances/{path}\n"


def test_an_id_that_was_removed_is_refused_where_the_engine_remembers_it(calm: Fleet) -> None:
    path = calm.write("drift-1")
    calm.write("drift-2")
    calm.apply()
    path.unlink()
    calm.apply("drift-1")
    result = calm.run("new", "calm", "drift-1")
    assert result.exit_code == 1
    assert result.stderr.startswith("drift-1: expected an id that is free, it is known to the engine: removed at 2023-")
    assert not path.exists()


def test_nothing_is_overwritten_that_only_the_disk_knows(calm: Fleet) -> None:
    path = calm.root / "instances" / "calm-1.yaml"
    path.symlink_to("nowhere")
    result = calm.run("new", "calm", "calm-1")
    assert result.exit_code == 1
    assert path.is_symlink()
    assert not path.exists()


def test_the_one_declared_account_is_taken(calm: Fleet) -> None:
    declare(calm, "practice-1")
    result = calm.run("new", "calm", "calm-1", "--client", "c", "--market", "EUR/USD")
    assert result.stderr == "then: reconciler validate instances/calm-1.yaml\n"
    assert "account_id: practice-1\n" in (calm.root / "instances" / "calm-1.yaml").read_text()


def test_of_several_accounts_none_is_guessed(calm: Fleet) -> None:
    declare(calm, "one", "two")
    result = calm.run("new", "calm", "calm-1")
    assert (result.exit_code, result.stderr) == (1, "--account: expected one of one, two, was left out\n")
    result = calm.run("new", "calm", "calm-1", "--account", "tow")
    assert result.stderr == '--account: expected one of one, two, was tow; did you mean "two"?\n'
    assert calm.run("new", "calm", "calm-1", "--account", "two").exit_code == 0


def test_a_folder_that_cannot_be_written_to_says_so(calm: Fleet) -> None:
    (calm.root / "instances" / "majors").write_text("")
    result = calm.run("new", "calm", "calm-1", "--folder", "majors")
    assert result.exit_code == 1
    assert "expected to be able to write it, was refused" in result.stderr


def test_a_removed_file_may_be_written_again_in_a_fleet_without_an_engine(calm: Fleet) -> None:
    assert calm.run("new", "calm", "calm-1").exit_code == 0
    Path(calm.root / "instances" / "calm-1.yaml").unlink()
    assert calm.run("new", "calm", "calm-1").exit_code == 0


@pytest.mark.parametrize("folder", ["\udcff", "a\nb", "/".join(["a"] * 40)])
def test_a_folder_that_the_engine_would_not_read_is_refused(calm: Fleet, folder: str) -> None:
    result = calm.run("new", "calm", "a", "--folder", folder)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith("--folder: expected ")
    assert list((calm.root / "instances").iterdir()) == []


def test_no_link_leads_it_into_another_folder(calm: Fleet, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (calm.root / "instances" / "out").symlink_to(outside)
    (calm.root / "instances" / "code").symlink_to("../strategies")
    for folder in ("out/new", "code", "code/new"):
        result = calm.run("new", "calm", "a", "--folder", folder)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert "was a link that leads out of it" in result.stderr
    assert list(outside.iterdir()) == []
    assert not (calm.root / "strategies" / "new").exists()


def test_a_market_that_no_file_can_hold_is_refused(calm: Fleet) -> None:
    result = calm.run("new", "calm", "a", "--market", "\udcff")
    assert (result.exit_code, result.stderr) == (1, "--market: expected text that a file can hold, was \\udcff\n")
