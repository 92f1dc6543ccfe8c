"""The one comment with the plan: found again, brought up to date, and never somebody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.review.comment import main
from tests.ci.github import TOKEN, Comment, GitHub, serving

MARKER = "<!-- reconciler plan -->"
PLAN = f"{MARKER}\n### Plan: 1 raise\n"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as github:
        yield github


@pytest.fixture
def environ(github: GitHub, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "plan.md").write_text(PLAN)
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": "1a2b"}}}))
    return {
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_GRAPHQL_URL": github.url,
        "GITHUB_REPOSITORY": "owner/fleet",
        "GITHUB_EVENT_PATH": str(event),
        "PLAN": str(tmp_path / "plan.md"),
    }


def call(environ: dict[str, str], *name: str) -> int:
    return main([environ["PLAN"], *name], environ)


def test_the_first_is_written(github: GitHub, environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(environ) == 0
    assert [comment.body for comment in github.comments] == [f"{PLAN}\nFor 1a2b.\n"]
    assert capsys.readouterr().out == "comment written\n"


@pytest.mark.parametrize("others", [0, 1, 2, 5])
def test_it_is_found_again_on_whatever_page_it_is(github: GitHub, environ: dict[str, str], others: int) -> None:
    github.comments = [Comment(f"comment {n}") for n in range(others)]
    call(environ)
    Path(environ["PLAN"]).write_text(f"{MARKER}\n### Plan: nothing\n")
    github.comments.append(Comment("and a last one"))
    assert call(environ) == 0
    assert github.comments[others].body == f"{MARKER}\n### Plan: nothing\n\nFor 1a2b.\n"
    assert len(github.comments) == others + 2


@pytest.mark.parametrize(
    "body", [f"{MARKER}\nold", "Look: <!-- reconciler plan -->", f"> {MARKER}", "<!-- reconciler plan of a -->\nold"]
)
def test_what_is_not_ours_is_left_alone(github: GitHub, environ: dict[str, str], body: str) -> None:
    github.comments = [Comment(body, own=not body.startswith(MARKER))]
    assert call(environ) == 0
    assert [comment.body for comment in github.comments] == [body, f"{PLAN}\nFor 1a2b.\n"]


def test_a_comment_that_github_gave_other_line_ends_is_still_ours(github: GitHub, environ: dict[str, str]) -> None:
    github.comments = [Comment(f"{MARKER}\r\nold")]
    assert call(environ) == 0
    assert len(github.comments) == 1


def test_each_fleet_has_its_own(github: GitHub, environ: dict[str, str]) -> None:
    for folder in ("one", "a b/-->", ".", "one"):
        assert call(environ, folder) == 0
    assert [comment.body.split("\n")[0] for comment in github.comments] == [
        "<!-- reconciler plan of one -->",
        "<!-- reconciler plan of a%20b/--%3E -->",
        MARKER,
    ]


@pytest.mark.parametrize("refusal", ["FORBIDDEN", "INSUFFICIENT_SCOPES"])
def test_a_token_that_may_not_write_is_told_on_one_line_and_is_no_failure(
    github: GitHub, environ: dict[str, str], capsys: pytest.CaptureFixture[str], refusal: str
) -> None:
    github.refusal = refusal
    assert call(environ) == 0
    assert capsys.readouterr().out == (
        "::notice title=reconciler plan::No comment, this token may not write one (Resource not accessible): "
        "see the summary\n"
    )
    assert github.comments == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_do_nothing_is_no_failure_either(github: GitHub, environ: dict[str, str], status: int) -> None:
    github.status = status
    assert call(environ) == 0
    assert github.comments == []


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (403, {"retry-after": "60"}, ""),
        (403, {"x-ratelimit-remaining": "0"}, ""),
        (403, {}, "You have exceeded a secondary rate limit."),
        (403, {}, "You have triggered an abuse detection mechanism."),
        (429, {}, ""),
    ],
)
def test_too_many_requests_are_a_failure_for_the_comment_is_not_up_to_date(
    github: GitHub,
    environ: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    status: int,
    headers: dict[str, str],
    message: str,
) -> None:
    github.status, github.headers, github.message = status, headers, message
    assert call(environ) == 1
    assert "::error title=reconciler plan::The comment is not up to date" in capsys.readouterr().out


def test_a_limit_that_comes_as_an_error_of_the_query_is_a_failure_too(github: GitHub, environ: dict[str, str]) -> None:
    github.refusal, github.message = "FORBIDDEN", "API rate limit exceeded"
    assert call(environ) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"repository": None}, "errors": None},
        {"data": {"repository": {"pullRequest": None}}},
        {"data": None},
        {"errors": ["bad"]},
        [],
    ],
)
def test_an_answer_without_the_pull_request_is_a_failure_in_one_sentence(
    github: GitHub, environ: dict[str, str], capsys: pytest.CaptureFixture[str], answer: Any
) -> None:
    github.says = answer
    assert call(environ) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("plan", [None, "no plan\n", "\n"])
def test_what_is_no_plan_is_not_written(
    github: GitHub, environ: dict[str, str], capsys: pytest.CaptureFixture[str], plan: str | None
) -> None:
    file = Path(environ["PLAN"])
    file.unlink() if plan is None else file.write_text(plan)
    assert call(environ) == 2
    assert github.asked == []
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_comment_that_is_not_up_to_date_is_a_failure(
    github: GitHub, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    call(environ)
    github.status = 502
    assert call(environ) == 1
    assert "::error title=reconciler plan::The comment is not up to date" in capsys.readouterr().out
    github.status, github.refusal = 200, "SOMETHING_ELSE"
    assert call(environ) == 1


def test_nobody_there_is_a_failure(environ: dict[str, str]) -> None:
    assert call({**environ, "GITHUB_GRAPHQL_URL": "http://127.0.0.1:1/graphql"}) == 1


def test_without_a_pull_request_nothing_is_asked(github: GitHub, environ: dict[str, str]) -> None:
    Path(environ["GITHUB_EVENT_PATH"]).write_text("{}")
    assert call(environ) == 0
    assert github.asked == []


def test_called_wrongly_it_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}) == 2
    assert "PLAN.md" in capsys.readouterr().err


def test_without_the_runner_s_environment_it_says_what_is_lacking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.md").write_text("")
    assert main([str(tmp_path / "plan.md")], {}) == 2
    assert capsys.readouterr().err.startswith("expected GITHUB_EVENT_PATH in the environment")
