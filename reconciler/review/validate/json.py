"""A report for machines, as `schemas/report.schema.json` describes it; items as `/api/v1/problems` has them."""

from __future__ import annotations

from reconciler.review.validate.report import Report
from reconciler.visible import json_text


def render(report: Report) -> str:
    document = {
        "items": [problem.to_json() for problem in report.problems],
        "valid": report.valid,
        "files": report.files,
        "invalid": report.invalid,
    }
    return json_text(document, indent=2)
