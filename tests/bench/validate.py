"""`reconciler validate` of 10,000 valid files, against check-jsonschema and ajv-cli; and of one file.

Whole processes. The peers are given the schema that `reconciler schema` writes, with a branch for each strategy, so
that they judge every config, too. `python -m tests.bench.validate`
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

from tests.bench.result import Result

FILES = 10_000
RUNS = 7
ONE_FILE_GOAL_S = 0.5
AJV_GOAL = 0.9
CHECK_JSONSCHEMA_GOAL = 0.05
STRATEGIES = Path(__file__).parents[2] / "strategies"

_BIN = Path(sys.executable).parent
_OURS = (str(_BIN / "reconciler"), "validate")
_SCHEMA = "schemas/instance.schema.json"
_CHECK_JSONSCHEMA = (str(_BIN / "check-jsonschema"), "--schemafile", _SCHEMA)
_AJV = Path(sys.prefix) / "node_modules" / ".bin" / "ajv"
_AJV_OPTIONS = ("validate", "--spec=draft2020", "--strict=false", "-s", _SCHEMA, "-d", "instances/*.yaml")

_PLAIN, _OTHER = "description: Grid on the spot pair", "description: >-\n  Grid on the spot pair"
_INSTANCE = """\
# yaml-language-server: $schema=../schemas/instance.schema.json
id: {id}
strategy_type: grid
account:
  account_id: main
  client_id: desk-{desk}
market: BTC/USD
mode: observe
{description}
config:
  quantity: "0.01"
  levels: {levels}
  spacing: "0.001"
  recentre_after: 8
limits:
  max_order_notional: "2000"
  max_open_orders: 12
"""


def measure() -> Sequence[Result]:
    """We and ajv-cli in turns, the median of the ratios of each turn; check-jsonschema, which takes long, once."""
    if not _AJV.exists():
        raise AssertionError("expected ajv-cli, found none: install node and npm, and remove .bench/.installed")
    with tempfile.TemporaryDirectory() as folder:
        one, many = make_fleet(Path(folder) / "one", 1), make_fleet(Path(folder) / "many", FILES)
        one_s = median(_seconds(one, *_OURS, "instances/grid-0.yaml") for _ in range(RUNS))
        check_jsonschema_s = _seconds(many, *_CHECK_JSONSCHEMA, *_files(many))
        _seconds(one, str(_AJV), *_AJV_OPTIONS)
        of_plain = _beside_ajv(many, "every file is plain (see documents.scalars)")
        other = make_fleet(Path(folder) / "other", FILES, _OTHER)
        of_other = _beside_ajv(other, "no file is plain `key: value` lines: each has a folded text")
    ours_s = of_plain.ours_s
    beside_check_jsonschema = ours_s / check_jsonschema_s
    work = f"validate {FILES:,} valid files"
    return (
        Result(
            work=work,
            to_reach=f"≤ {CHECK_JSONSCHEMA_GOAL:g} × check-jsonschema",
            figure=f"{ours_s:.2f} s",
            ok=beside_check_jsonschema <= CHECK_JSONSCHEMA_GOAL,
            peer=f"check-jsonschema {check_jsonschema_s:.1f} s",
            ratio=beside_check_jsonschema,
            note="whole processes; the peers check the exported schema, with its branch for each strategy",
        ),
        of_plain.result(work),
        of_other.result(f"{work}, none of plain lines"),
        Result(
            work="validate one file",
            to_reach=f"well under {ONE_FILE_GOAL_S:g} s",
            figure=f"{one_s:.2f} s",
            ok=one_s <= ONE_FILE_GOAL_S / 2,
            note="whole process; well under is taken as half",
        ),
    )


class Beside(NamedTuple):
    """We and ajv-cli on one fleet; `ratio` is the median of the ratios of each turn."""

    ours_s: float
    ajv_s: float
    ratio: float
    note: str

    def result(self, work: str) -> Result:
        return Result(
            work=work,
            to_reach=f"≤ {AJV_GOAL:g} × ajv-cli",
            figure=f"{self.ours_s:.2f} s",
            ok=self.ratio <= AJV_GOAL,
            peer=f"ajv-cli {self.ajv_s:.2f} s",
            ratio=self.ratio,
            note=self.note,
        )


def _beside_ajv(root: Path, note: str) -> Beside:
    turns = [(_seconds(root, *_OURS), _seconds(root, str(_AJV), *_AJV_OPTIONS)) for _ in range(RUNS)]
    ours_s, ajv_s = (median(column) for column in zip(*turns, strict=True))
    return Beside(ours_s, ajv_s, median(ours / ajv for ours, ajv in turns), note)


def make_fleet(root: Path, files: int, description: str = _PLAIN) -> Path:
    """A fleet of so many files, with its schemas, in a new folder."""
    shutil.copytree(STRATEGIES, root / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "instances").mkdir()
    for number in range(files):
        instance_id = f"grid-{number}"
        text = _INSTANCE.format(id=instance_id, desk=number % 7, levels=number % 9 + 2, description=description)
        (root / "instances" / f"{instance_id}.yaml").write_text(text)
    _seconds(root, _OURS[0], "schema")
    return root


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / "instances").iterdir())


def _seconds(root: Path, *command: str) -> float:
    """How long the command takes in `root`, where it must find nothing wrong."""
    began = perf_counter()
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return perf_counter() - began


if __name__ == "__main__":
    print(*measure(), sep="\n")
