"""What holds for every test: property tests draw the same examples everywhere, a busy machine fails none, and a new
database is a copy of one that the migrations made once, for making it anew takes longer than most of what is tested."""

from __future__ import annotations

import gc
import os
import sqlite3
from collections import defaultdict
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlite_utils import Database

from reconciler.store import tables as schema
from tests import drawing

settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    max_examples=drawing.USUAL,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "new", settings.get_profile("steady"), derandomize=False, max_examples=drawing.drawn(drawing.USUAL)
)
settings.register_profile("few", settings.get_profile("steady"), max_examples=drawing.drawn(drawing.USUAL))
settings.load_profile(drawing.PROFILE)


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """Only what is empty is copied into; every other database is migrated as the engine does it."""
    migrate = schema.migrate
    with (
        sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        migrate(Database(made, execute_plugins=False), Path(":memory:"))

        def copied(db: Database, path: Path) -> None:
            if db.table_names():
                migrate(db, path)
            else:
                made.backup(db.conn)

        patch.setattr(schema, "migrate", copied)
        yield
    made.close()


SLOW = (
    "simulation/test_kills.py",
    "proof/test_engine_process.py",
    "simulation/test_lives.py",
    "ci/test_action.py",
    "backtest/test_parity.py",
    "browser/test_looks.py",
    "backtest/test_lookahead.py",
    "simulation/test_gates.py",
    "browser/test_freshness.py",
    "backtest/test_study.py",
    "browser/test_report.py",
    "strategies/test_backtests.py",
    "cli/test_paper.py",
    "control/test_histories.py",
    "control/test_socket.py",
    "proof/test_kill.py",
    "exec_mcp/test_connection.py",
    "sources/test_signatures.py",
    "cli/test_exec.py",
    "exec_mcp/test_ready.py",
    "ci/test_hooks.py",
    "proof/test_doubt_after_kill.py",
    "ci/test_workflow.py",
    "simulation/test_seams.py",
    "simulation/test_switched_off.py",
    "backtest/test_bytes.py",
    "review/plan/test_markdown.py",
    "test_guide.py",
)
"""Files that take eight seconds and more, the slowest first; what else takes long is told after each run."""
_TOLD_S = 15.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: a process takes one file at a time, and who drew a slow one last would keep all waiting."""
    here = Path(__file__).parent
    turns = {here / name: turn for turn, name in enumerate(SLOW)}
    assert all(path.exists() for path in turns), "tests.conftest.SLOW names a file that is gone"
    items.sort(key=lambda item: turns.get(item.path, len(SLOW)))


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: whoever collects garbage on the way need not look at them each time."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which files have become slow, and began where they were drawn."""
    took_s: defaultdict[str, float] = defaultdict(float)
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            took_s[report.nodeid.partition("::")[0].removeprefix("tests/")] += report.duration
    unknown = [f"{name} ({s:.0f} s)" for name, s in sorted(took_s.items()) if s >= _TOLD_S and name not in SLOW]
    if unknown:
        terminalreporter.write_line(f"slow, and not in tests.conftest.SLOW: {', '.join(unknown)}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: now and then a test waits for a process or a disk, and a core for work."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold what no process can hand to another as text."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
