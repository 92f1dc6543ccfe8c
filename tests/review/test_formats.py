from __future__ import annotations

import subprocess
import sys

import pytest

from reconciler.errors import Problem
from reconciler.review.validate.report import FORMATS, Report, as_text

PROBLEM = Problem(
    "instances/a.yaml", 14, 11, "config.levels", "expected an integer", "remove the quotes", "schema-type"
)


def test_the_formats_are_these() -> None:
    assert list(FORMATS) == ["text", "json", "github", "gitlab", "sarif", "junit"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_tells_where_what_and_how_to_mend_it(form: str) -> None:
    written = FORMATS[form](Report((PROBLEM,), {PROBLEM.path: (PROBLEM,)}))
    assert all(part in written for part in (PROBLEM.path, "14", PROBLEM.pointer, PROBLEM.message, PROBLEM.hint))


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_without_problems_can_be_written(form: str) -> None:
    assert PROBLEM.message not in FORMATS[form](Report((), {"instances/a.yaml": ()}))


def test_a_name_stands_for_its_module() -> None:
    report = Report((PROBLEM,))
    assert FORMATS["text"](report) == as_text(report)


def test_choosing_a_format_imports_no_other() -> None:
    script = """if True:
        import sys
        from reconciler.review.validate.report import FORMATS
        print([name for name in FORMATS if f"reconciler.review.{name}" in sys.modules])
    """
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
