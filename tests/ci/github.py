"""A stand-in for GitHub's GraphQL API: the comments of one pull request, and who may write them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a token of this job"


@dataclass
class Comment:
    body: str
    own: bool = True


@dataclass
class GitHub:
    """Answers as GitHub does, a page of two comments at a time. `refusal` is what becomes of every write."""

    url: str = ""
    comments: list[Comment] = field(default_factory=list)
    refusal: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "Resource not\naccessible"
    says: Any = ...
    asked: list[str] = field(default_factory=list)

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if self.says is not ...:
            return self.says  # type: ignore[no-any-return]
        self.asked.append(query.split("(")[0].split("{")[0].strip())
        if query.startswith("query"):
            assert (variables["owner"], variables["name"], variables["number"]) == ("owner", "fleet", 7)
            return {"data": {"repository": {"pullRequest": self._page(int(variables["after"] or 0))}}}
        if self.refusal:
            return {"data": {}, "errors": [{"type": self.refusal, "message": self.message}]}
        given = variables["input"]
        if "addComment" in query:
            assert given["subjectId"] == "PR_7"
            self.comments.append(Comment(given["body"]))
        else:
            assert "updateIssueComment" in query
            self.comments[int(given["id"].removeprefix("IC_"))].body = given["body"]
        return {"data": {}}

    def _page(self, begin: int) -> dict[str, Any]:
        page = list(enumerate(self.comments))[begin : begin + 2]
        nodes = [{"id": f"IC_{at}", "body": comment.body, "viewerDidAuthor": comment.own} for at, comment in page]
        more = {"hasNextPage": begin + 2 < len(self.comments), "endCursor": str(begin + 2)}
        return {"id": "PR_7", "comments": {"nodes": nodes, "pageInfo": more}}


@contextmanager
def serving() -> Iterator[GitHub]:
    github = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Authorization"] == f"Bearer {TOKEN}"
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(github.answer(asked["query"], asked["variables"])).encode()
            if github.status != 200:
                answer = json.dumps({"message": github.message}).encode()
            self.send_response(github.status)
            for header in github.headers.items():
                self.send_header(*header)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github.url = f"http://127.0.0.1:{server.server_port}/graphql"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
