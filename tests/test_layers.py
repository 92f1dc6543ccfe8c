"""The house holds: a folder imports only from rows below, and only one folder touches each outside thing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_import_contracts_are_kept() -> None:
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_sources_runs_git_and_what_checks_signatures() -> None:
    tools = re.compile(r"""(?<!Pinned)[(\[]["'](?:git|ssh-keygen|gpg)["'],""")  # as a command begins
    calling = {
        path.relative_to(ROOT / "reconciler").parts[0]
        for path in (ROOT / "reconciler").rglob("*.py")
        if tools.search(path.read_text(encoding="utf-8"))
    }
    assert calling == {"sources"}
