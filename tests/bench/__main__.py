"""`make bench`: runs every measurement and prints the table. Exit code 1 where a goal is missed.

A measurement is a module of this folder with `measure() -> Result | Sequence[Result]`. Each runs in a
process of its own, so that none warms or crowds another. Name some to run only those:
`python -m tests.bench dispatch rows`.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.bench.result import Result

MEASUREMENTS = (
    "validate",
    "document",
    "scan",
    "merged",
    "rows",
    "dispatch",
    "instances",
    "blocking",
    "inline",
    "bars",
    "rules",
    "coldstart",
    "page",
    "orders",
    "cancels",
)


def measured(name: str) -> list[Result]:
    """What the module `name` measures, in this process."""
    found: Result | Sequence[Result] = importlib.import_module(f"tests.bench.{name}").measure()
    return [found] if isinstance(found, Result) else list(found)


def measured_apart(name: str) -> list[Result]:
    """The same, in a process of its own. What fails is a row of the table, too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--as-json", name], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        return [Result(work=name, to_reach="to be measured", figure=f"failed, exit code {done.returncode}", ok=False)]
    return [Result(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def table(results: Sequence[Result]) -> str:
    """The results as a markdown table, with the notes below it."""
    lines = ["| work | to reach | figure | peer | ratio | |", "|---|---|---|---|---|---|"]
    for row in results:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        mark = "ok" if row.ok else "MISSED"
        lines.append(f"| {row.work} | {row.to_reach} | {row.figure} | {row.peer} | {ratio} | {mark} |")
    notes = [f"- {row.work}: {row.note}" for row in results if row.note]
    return "\n".join([*lines, "", *notes]).rstrip()


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--as-json"]:
        print(json.dumps([asdict(row) for name in arguments[1:] for row in measured(name)]))
        return 0
    results: list[Result] = []
    for name in arguments or MEASUREMENTS:
        print(f"measuring {name} …", file=sys.stderr)
        results += measured_apart(name)
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores\n")
    print(table(results))
    return 0 if all(row.ok for row in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
