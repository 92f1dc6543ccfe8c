"""A report for machines: `{"items": [...], "valid": n, "files": n}`; items as `/api/v1/problems` has them."""

from __future__ import annotations

import json

from reconciler.review.report import Report


def render(report: Report) -> str:
    document = {
        "items": [problem.to_json() for problem in report.problems],
        "valid": report.valid,
        "files": report.files,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
