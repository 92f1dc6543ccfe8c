"""The tools of servers, remembered over a kill and a restart."""

from __future__ import annotations

from pathlib import Path

from reconciler.clock import FakeClock
from reconciler.records.accounts import KnownTools
from reconciler.store import Reader, Store

TOOLS = KnownTools("m1", {"createOrder": {"argument side": "c0ffee"}, "fetchOrder": {}})


def test_what_is_kept_is_known_at_once_and_after_a_restart(path: Path, clock: FakeClock) -> None:
    with Store.open(path, clock) as store:
        assert store.tools.known("kraken") is None
        store.tools.keep("kraken", TOOLS)
        assert store.tools.known("kraken") == TOOLS
    with Store.open(path, clock) as again:
        assert again.tools.known("kraken") == TOOLS
        changed = KnownTools("m1", TOOLS.shape, "fetchOrder is new")
        again.tools.keep("kraken", changed)
        again.flush()
        reader = Reader.open(path)
        assert reader.tools() == {"kraken": changed}
        reader.close()


def test_a_database_that_refuses_is_said_and_stops_nothing(path: Path, clock: FakeClock, caplog: object) -> None:
    store = Store.open(path, clock)
    store.close()
    store.tools.keep("kraken", TOOLS)
    assert store.tools.known("kraken") == TOOLS
    assert "exec-mcp tools not remembered" in caplog.text  # type: ignore[attr-defined]
