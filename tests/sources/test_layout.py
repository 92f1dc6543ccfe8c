from __future__ import annotations

import pytest

from reconciler.records.snapshot import SourceFile
from reconciler.sources.layout import counts, is_editor_temporary, is_strategy, is_template, parts


@pytest.mark.parametrize(
    "path",
    [
        "instances/btc.yaml",
        "instances/btc.yml",
        "instances/desk-a/majors/btc.yaml",
        "instances/_halt.yaml",
        "instances/_halt.yml",
        "instances/_templates/majors.yaml",
        "strategies/grid.py",
    ],
)
def test_records_templates_definitions_and_the_halt_count(path: str) -> None:
    assert counts(path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "btc.yaml",
        "instances/README.md",
        "instances/_draft.yaml",
        "instances/.btc.yaml",
        "instances/~btc.yaml",
        "instances/btc.yaml~",
        "instances/.btc.yaml.swp",
        "instances/#btc.yaml#",
        "instances/.#btc.yaml",
        "instances/4913",
        "instances/btc.yaml.tmp",
        "instances/_drafts/btc.yaml",
        "instances/.git/btc.yaml",
        "instances/desk-a/_halt.yaml",
        "instances/desk-a/_templates/majors.yaml",
        "instances/_templates/deep/majors.yaml",
        "instances/_templates/_draft.yaml",
        "instances/folder.yaml/btc.yaml",
        "instances/btc_BACKUP_1234.yaml",
        "instances/desk-a/btc_LOCAL_1234.yml",
        "strategies/_shared.py",
        "strategies/.grid.py",
        "strategies/deep/grid.py",
        "strategies/grid.pyc",
    ],
)
def test_all_else_does_not_count(path: str) -> None:
    assert not counts(path)


@pytest.mark.parametrize(
    "name",
    [
        "btc.yaml~",
        ".btc.yaml.swp",
        ".btc.yaml.swx",
        "#btc.yaml#",
        ".#btc.yaml",
        "4913",
        "btc.tmp",
        "a.yaml___jb_tmp___",
    ],
)
def test_what_editors_leave_behind_is_known(name: str) -> None:
    assert is_editor_temporary(name)


@pytest.mark.parametrize("name", ["btc.yaml", "tmp", "49130", "swp.yaml", "a#b.yaml", "grid.py", "btc.swap.yaml"])
def test_a_file_of_the_users_is_no_temporary(name: str) -> None:
    assert not is_editor_temporary(name)


def test_a_folder_belongs_where_its_files_do() -> None:
    assert is_template("instances/_templates")
    assert is_template("instances/_templates/majors.yaml")
    assert not is_template("instances/_templates2/majors.yaml")
    assert is_strategy("strategies")
    assert not is_strategy("strategies2/grid.py")


def test_files_are_sorted_by_what_they_are_and_by_path() -> None:
    paths = (
        "strategies/grid.py",
        "instances/z.yaml",
        "instances/_halt.yml",
        "instances/a.yaml",
        "instances/_templates/t.yaml",
        "instances/_halt.yaml",
        "strategies/dca.py",
    )
    found = parts(SourceFile(path, b"", "", committed=True) for path in paths)
    assert [file.path for file in found.instances] == ["instances/a.yaml", "instances/z.yaml"]
    assert [file.path for file in found.templates] == ["instances/_templates/t.yaml"]
    assert [file.path for file in found.strategies] == ["strategies/dca.py", "strategies/grid.py"]
    assert found.halt is not None
    assert found.halt.path == "instances/_halt.yaml"
    assert found.halt.data is None, "nobody knows which of the two is meant"
    assert "instances/_halt.yml" in found.halt.error
    assert parts([]).halt is None
