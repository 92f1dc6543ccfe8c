"""Short ways to make rows and evaluations for the tests of the pure core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, digest

MakeFile = Callable[..., Evaluation]
MakeRow = Callable[..., Row]


def _record(id: str, mode: Mode, config: dict[str, Any], market: str, protect: bool) -> InstanceRecord:
    values = {"id": id, "mode": str(mode), "config": config, "market": market, "protect": protect}
    return InstanceRecord(
        id=id,
        identity=Identity("grid", "main", "desk", market),
        mode=mode,
        config=config,
        effective_config=config,
        protect=protect,
        values=values,
    )


@pytest.fixture
def make_file() -> MakeFile:
    """A valid evaluation; `problems` makes it an invalid one that still claims its id and mode."""

    def make(
        id: str = "a",
        mode: Mode = Mode.OBSERVE,
        config: dict[str, Any] | None = None,
        *,
        market: str = "EUR/USD",
        path: str = "",
        protect: bool = False,
        code: str = "code-1",
        committed: bool = True,
        problems: tuple[Any, ...] = (),
    ) -> Evaluation:
        record = _record(id, mode, config or {}, market, protect)
        return Evaluation(
            path=path or f"instances/{id}.yaml",
            file_digest=digest([record.values, "file"]),
            claimed_id=id,
            claimed_mode=mode,
            record=None if problems else record,
            code_digest=code,
            values_digest=digest(dict(record.values)),
            config_digest=digest(config or {}),
            problems=problems,
            committed=committed,
        )

    return make


@pytest.fixture
def make_row(make_file: MakeFile) -> MakeRow:
    """The row that applying `make_file` with the same arguments would leave."""

    def make(*args: Any, generation: int = 1, **kwargs: Any) -> Row:
        file = make_file(*args, **kwargs)
        assert file.record is not None
        return Row(
            record=file.record,
            path=file.path,
            generation=generation,
            values_digest=file.values_digest,
            config_digest=file.config_digest,
            file_digest=file.file_digest,
            code_digest=file.code_digest,
            revision="c0ffee" if file.committed else None,
            committed=file.committed,
            applied_at="2026-01-01T00:00:00.000Z",
        )

    return make
