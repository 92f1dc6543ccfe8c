from __future__ import annotations

from reconciler.runtime.gate_state import MESSAGE_LENGTH, LogRing


def test_the_oldest_line_falls_out() -> None:
    ring = LogRing(2)
    assert ring.newest_first() == ()
    for n in range(3):
        ring.append(float(n), "info", str(n))
    assert [line.message for line in ring.newest_first()] == ["2", "1"]


def test_a_long_message_is_cut_and_says_so() -> None:
    ring = LogRing(2)
    ring.append(0.0, "info", "x" * MESSAGE_LENGTH)
    ring.append(0.0, "info", "x" * (MESSAGE_LENGTH + 1))
    cut, whole = (line.message for line in ring.newest_first())
    assert whole == "x" * MESSAGE_LENGTH
    assert cut == "x" * (MESSAGE_LENGTH - 1) + "…"


def test_a_message_that_utf_8_cannot_hold_is_kept_escaped() -> None:
    ring = LogRing(2)
    ring.append(0.0, "info", "a\ud800")
    assert ring.newest_first()[0].message == "a\\ud800"
