"""One at a time, whoever waits and for however long, and free again whatever was raised within."""

from __future__ import annotations

import threading

import pytest

from reconciler.runtime.roster import BriefLock


def test_one_thread_at_a_time_holds_it() -> None:
    lock = BriefLock()
    inside = threading.Lock()
    overlaps: list[int] = []
    sections: list[int] = []

    def work(number: int) -> None:
        for turn in range(500):
            with lock:
                if not inside.acquire(blocking=False):
                    overlaps.append(number)
                    continue
                if turn % 50 == 0:
                    threading.Event().wait(0.0002)  # lets go of the interpreter, as a thread that is switched away
                sections.append(number)
                inside.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (overlaps, len(sections)) == ([], 2_000)


def test_it_is_free_again_whatever_is_raised_within() -> None:
    lock = BriefLock()
    with pytest.raises(ValueError, match="within"), lock:
        raise ValueError("within")
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    assert taken.wait(60)
