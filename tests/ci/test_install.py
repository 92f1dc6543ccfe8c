"""What is installed is whole: it does what the checkout does."""

from __future__ import annotations

import subprocess
from pathlib import Path

from click.testing import CliRunner

from reconciler.cli import main


def test_an_installed_package_begins_the_same_fleet(installed: Path, tmp_path: Path) -> None:
    subprocess.run(
        (installed / "reconciler", "init", tmp_path / "theirs"), cwd=tmp_path, capture_output=True, check=True
    )
    CliRunner().invoke(main, ["init", str(tmp_path / "ours")])
    theirs, ours = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "theirs", tmp_path / "ours")
    )
    assert ours
    assert theirs == ours
