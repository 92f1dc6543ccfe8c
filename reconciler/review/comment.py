"""The plan as one comment on a pull request, kept up to date in place. Run by CI; the only module that asks GitHub.

    GITHUB_TOKEN=… python -I -m reconciler.review.comment plan.md [NAME]

What is ours is known by two things: the hidden marker that the plan begins with, and that GitHub says this token
wrote it. NAME, the fleet's folder, keeps the comments of several fleets in one repository apart. A token that may
not write, as that of a fork, is no failure: it is said, and the plan is in the step summary all the same.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

TIMEOUT_S: Final = 30
_LONGEST_ERROR: Final = 10_000
_LONGEST_SAID: Final = 300

_MARKER: Final = "<!-- reconciler plan"

_COMMENTS: Final = """\
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      id
      comments(first: 100, after: $after) {
        nodes { id body viewerDidAuthor }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}"""
_ADD: Final = "mutation($input: AddCommentInput!) { addComment(input: $input) { clientMutationId } }"
_UPDATE: Final = "mutation($input: UpdateIssueCommentInput!) { updateIssueComment(input: $input) { clientMutationId } }"


class NotAllowed(Exception):
    """The token may not do this."""


class NoForgeAnswer(Exception):
    """GitHub could not be asked, or did not do what it was asked."""


class GitHub:
    """Asks GitHub's GraphQL API at `url` with one token. Raises NotAllowed or NoAnswer."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def ask(self, query: str, variables: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            self._url,
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, ValueError) as error:
            raise NoForgeAnswer(str(error)) from error
        if not isinstance(answer, dict):
            raise NoForgeAnswer("its answer was no mapping")
        for wrong in answer.get("errors") or ():
            raise _fault(wrong if isinstance(wrong, dict) else {"message": wrong})
        return answer.get("data")


def _refusal(error: urllib.error.HTTPError) -> NotAllowed | NoForgeAnswer:
    """What a status means. Limits of use, the secondary ones too, come as 403 like a missing right: another time it
    would be done, so the comment is not up to date."""
    said = f"status {error.code}"
    if error.code not in (401, 403):
        return NoForgeAnswer(said)
    try:
        body = error.read(_LONGEST_ERROR).decode(errors="replace")
    except OSError:
        body = ""
    is_limited = "retry-after" in error.headers or error.headers.get("x-ratelimit-remaining") == "0"
    if error.code == 403 and (is_limited or _is_limit(body)):
        return NoForgeAnswer(f"{said}, too many requests: run this job again later")
    return NotAllowed(said)


def _fault(wrong: Mapping[str, Any]) -> NotAllowed | NoForgeAnswer:
    message = _one_line(wrong.get("message"))
    may_not = wrong.get("type") in ("FORBIDDEN", "INSUFFICIENT_SCOPES") and not _is_limit(message)
    return NotAllowed(message) if may_not else NoForgeAnswer(message)


def _is_limit(text: str) -> bool:
    return any(word in text.lower() for word in ("rate limit", "abuse detection"))


def _one_line(said: Any) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"


def upsert(github: GitHub, repository: str, number: int, body: str) -> str:
    """Make `body`, whose first line is its marker, the one such comment of ours; says what was done."""
    owner, name = repository.split("/")
    marker = body.partition("\n")[0]
    for page in _pages(github, {"owner": owner, "name": name, "number": number}):
        subject = page["id"]
        for comment in page["comments"]["nodes"]:
            if comment["viewerDidAuthor"] and comment["body"].partition("\n")[0].rstrip() == marker:
                github.ask(_UPDATE, {"input": {"id": comment["id"], "body": body}})
                return "brought up to date"
    github.ask(_ADD, {"input": {"subjectId": subject, "body": body}})
    return "written"


def _pages(github: GitHub, variables: Mapping[str, Any]) -> Iterator[Any]:
    """The pull request with its comments, oldest first, a page at a time; at least one."""
    after: str | None = None
    while True:
        found = github.ask(_COMMENTS, {**variables, "after": after})
        repository = found.get("repository") if isinstance(found, dict) else None
        pull_request = repository.get("pullRequest") if isinstance(repository, dict) else None
        if not isinstance(pull_request, dict):
            raise NoForgeAnswer(
                f"there is no pull request {variables['number']} in {variables['owner']}/{variables['name']}"
            )
        yield pull_request
        info = pull_request["comments"]["pageInfo"]
        if not info["hasNextPage"]:
            return
        after = info["endCursor"]


def comment_body(plan: str, name: str, commit: str) -> str:
    """The plan behind its marker, which names the fleet where that is not the whole repository, and its commit."""
    marker, _, rest = plan.partition("\n")
    if name not in ("", "."):
        marker = f"{marker.removesuffix(' -->')} of {quote(name)} -->"
    return f"{marker}\n{rest.rstrip()}\n\nFor {commit}.\n"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Exit code 0: done, or not allowed to; 1: GitHub did not do it; 2: called wrongly."""
    if len(arguments) not in (1, 2):
        print("expected: python -I -m reconciler.review.comment PLAN.md [NAME]", file=sys.stderr)
        return 2
    try:
        plan = Path(arguments[0]).read_text(encoding="utf-8", errors="replace")
        event = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    except KeyError as error:
        print(f"expected {error.args[0]} in the environment, as GitHub's runner sets it", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"expected a plan and an event to read: {_one_line(error)}", file=sys.stderr)
        return 2
    if not plan.startswith(_MARKER):
        print(f"{arguments[0]}: expected a plan, which begins with {_MARKER} -->", file=sys.stderr)
        return 2
    pull_request = event.get("pull_request")
    if pull_request is None:
        print("no pull request, no comment")
        return 0
    body = comment_body(plan, arguments[1] if arguments[1:] else "", pull_request["head"]["sha"])
    github = GitHub(environ.get("GITHUB_GRAPHQL_URL", "https://api.github.com/graphql"), environ["GITHUB_TOKEN"])
    try:
        done = upsert(github, environ["GITHUB_REPOSITORY"], pull_request["number"], body)
    except NotAllowed as error:
        print(f"::notice title=reconciler plan::No comment, this token may not write one ({error}): see the summary")
        return 0
    except NoForgeAnswer as error:
        print(f"::error title=reconciler plan::The comment is not up to date, GitHub did not take it ({error})")
        return 1
    print(f"comment {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
