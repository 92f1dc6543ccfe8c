"""How the process ends, tried on processes of their own: in time, and saying who wanted it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

RESORT = "from reconciler.ending import LastResort; LastResort().arm(0.2)\n"
HANGS = "import atexit, time; atexit.register(time.sleep, 1e6)\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=50)


def test_a_process_that_hangs_at_its_end_is_ended_and_says_where_it_was() -> None:
    done = run(HANGS + RESORT)
    assert done.returncode == 1
    assert "Timeout" in done.stderr


@pytest.mark.parametrize(
    "before", ["import faulthandler; faulthandler.cancel_dump_traceback_later()", "import os; os.closerange(0, 100)"]
)
def test_what_a_strategy_does_to_the_timer_helps_it_only_for_a_moment(before: str) -> None:
    assert run(f"{HANGS}{RESORT}{before}").returncode in (1, -9)


def test_it_is_armed_once() -> None:
    code = "resort.arm(1000); import time; time.sleep(1e6)"
    assert (
        run(f"from reconciler.ending import LastResort; resort = LastResort(); resort.arm(0.2); {code}").returncode == 1
    )


def test_a_process_that_ends_in_time_is_left_alone() -> None:
    assert run(RESORT.replace("0.2", "1000")).returncode == 0


def test_a_signal_that_foreign_code_had_ignored_is_obeyed_again() -> None:
    done = run(
        """
        import asyncio, ctypes, os, signal
        from reconciler.ending import obey_still

        async def ended():
            asked = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
            ctypes.CDLL(None).signal(int(signal.SIGTERM), ctypes.c_void_p(1))
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0)
            obey_still()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(asked.wait(), 30)
            print("obeyed", end="")

        asyncio.run(ended())
        """
    )
    assert (done.stdout, done.stderr) == ("obeyed", "")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", [(15, "os.kill at strategies/bad.py:5 in on_tick")]),
        ("os.kill(0, signal.SIGTERM)", [(15, "os.kill at strategies/bad.py:5 in on_tick")]),
        ("signal.raise_signal(signal.SIGTERM)", [(15, "signal.raise_signal at strategies/bad.py:5 in on_tick")]),
        ("_thread.interrupt_main()", [(2, "thread.interrupt_main at strategies/bad.py:5 in on_tick")]),
        ("os.kill(os.getpid(), 0)", []),
        ("os.kill(2**22 + 1, signal.SIGTERM)", []),
        ("os.kill()", []),
    ],
)
def test_a_strategy_that_ends_the_process_is_noticed_before_it_does(call: str, told: list[tuple[int, str]]) -> None:
    done = run(
        f"""
        import contextlib, os, signal
        from reconciler.ending import notice_own_hand
        told = []
        notice_own_hand(lambda number, what: told.append((number, what)))
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        source = "import os, signal, _thread\\n\\n\\ndef on_tick():\\n    {call}\\n"
        strategy = {{"__name__": "_reconciler_strategy_bad_0123"}}
        exec(compile(source, "strategies/bad.py@01234567", "exec"), strategy)
        with contextlib.suppress(TypeError, OSError):
            strategy["on_tick"]()
        os.kill(os.getpid(), signal.SIGTERM)  # the engine's own is none of a strategy's
        print(told)
        """
    )
    assert done.stdout.strip() == repr(told), done.stderr
