"""What holds for every test: property tests draw the same examples everywhere, a busy machine fails none, and a new
database is a copy of one that the migrations made once, for making it anew takes longer than most of what is tested."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold what no process can hand to another as text."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
