"""What no command foresaw, and what any may meet: one sentence, and the exit code of "could not run"."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.place import Place
from tests.cli.conftest import Fleet


def shell(fleet: Fleet, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = (sys.executable, "-m", "reconciler", "--root", str(fleet.root), *arguments)
    return subprocess.run(command, capture_output=True, env={**os.environ, **environ}, check=False)


@pytest.mark.parametrize(("command", "code"), [("validate", 2), ("plan", 1), ("schema", 1), ("status", 1)])
def test_an_error_that_nobody_foresaw_is_one_sentence(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    def fail(self: Place) -> None:
        raise RuntimeError("out of\n::error::luck")

    monkeypatch.setattr(Place, "root", fail)
    result = fleet.run(command)
    assert result.exit_code == code
    assert result.stderr == (
        "expected to come to an end, was stopped by RuntimeError: out of ::error::luck; "
        "with RECONCILER_DEBUG=1 its traceback is shown\n"
    )
    monkeypatch.setenv("RECONCILER_DEBUG", "1")
    assert isinstance(fleet.run(command).exception, RuntimeError)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("arguments", "code"), [(("validate",), 2), (("strategies",), 1), (("schema",), 1), (("orders",), 1)]
)
def test_a_full_disk_behind_stdout_is_one_sentence(fleet: Fleet, arguments: tuple[str, ...], code: int) -> None:
    fleet.store().close()
    fleet.write("a", levels="five")
    command = (sys.executable, "-m", "reconciler", "--root", str(fleet.root), *arguments)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == code
    assert done.stderr.splitlines()[0].startswith(b"stdout or a file: expected to be able to use it, was refused: ")
    assert len(done.stderr.splitlines()) == 1


def test_data_is_utf_8_and_text_is_escaped_where_the_terminal_lacks_it(fleet: Fleet) -> None:
    fleet.write("a", levels="→")
    data = shell(fleet, "validate", "--format", "json", PYTHONIOENCODING="latin-1")
    assert (data.returncode, "→" in str(json.loads(data.stdout))) == (1, True)
    text = shell(fleet, "validate", PYTHONIOENCODING="latin-1")
    assert text.returncode == 1
    assert rb"\u2192" in text.stdout


def test_a_folder_that_was_removed_beneath_a_shell_is_one_sentence(fleet: Fleet) -> None:
    script = f"import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); os.execv({sys.executable!r}, "
    script += f"[{sys.executable!r}, '-m', 'reconciler', 'validate'])"
    done = subprocess.run((sys.executable, "-c", script), cwd=fleet.root, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


def test_a_link_loop_among_the_paths_is_one_sentence(fleet: Fleet) -> None:
    (fleet.root / "instances" / "loop.yaml").symlink_to("loop.yaml")
    result = fleet.run("validate", str(fleet.root / "instances" / "loop.yaml"))
    assert result.exit_code == 1
    assert result.stdout.startswith("instances/loop.yaml: expected a readable file: ")


def test_with_stdout_and_stderr_closed_a_command_does_what_it_was_asked_to(fleet: Fleet) -> None:
    command = (sys.executable, "-m", "reconciler", "--root", fleet.root, "halt", "--all", "--reason", "why")
    done = subprocess.run(("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command), check=False)
    with fleet.store() as store:
        assert [halt.reason for halt in store.halts.active()] == ["why"]
    assert done.returncode == 0


def test_what_is_printed_where_stderr_was_closed_is_written_into_no_file_of_ours(tmp_path: Path) -> None:
    ours = tmp_path / "reconciler.db"
    script = (
        "import os, sys\n"
        "from reconciler.cli.output import open_what_is_closed\n"
        "open_what_is_closed()\n"
        "os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
        "os.write(2, b'said by C')\n"
        "print('said', file=sys.stderr, flush=True)\n"
        "print('told', flush=True)\n"
    )
    command = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script, ours)
    assert subprocess.run(command, check=False).returncode == 0
    assert ours.read_bytes() == b""
