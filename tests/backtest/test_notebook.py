"""The notebook: kept without outputs, and each cell of it is executed."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "backtest.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_it_is_a_notebook_that_is_kept_without_outputs() -> None:
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (kept["nbformat"], kept["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in CELLS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9-]{1,64}", id) for id in ids)
    for cell in CELLS:
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | (
            {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        )
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_every_cell_runs_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in CELLS:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            ast.parse(source)  # plain Python: no magic that only a kernel knows
            exec(compile(source, f"docs/backtest.ipynb: {cell['id']}", "exec"), names)
    printed = capsys.readouterr().out
    assert re.search(r"^above-10 +-?[0-9]+\.[0-9]{2} .* no$", printed, re.MULTILINE), printed
    assert len(names["found"].instances) == 3
    assert names["found"].trials == 3
    assert "<h1>Backtest</h1>" in names["page"].read_text(encoding="utf-8")
    assert all(len(one.run.trades) > 5 for one in names["found"].instances)
