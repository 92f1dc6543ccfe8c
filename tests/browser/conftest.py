"""One browser for all: Chromium as the distribution has it, driven over the pages of an engine that can be made fail.

Playwright's own event loop runs on this thread as long as its fixture lives, hence one for each module, none of whose
tests may be a coroutine.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from starlette.types import Receive, Scope, Send

from reconciler.clock import FakeClock
from reconciler.dashboard.guard import DashboardOptions
from reconciler.dashboard.routes import create_app
from reconciler.serving import listen, serving
from reconciler.store.reader import Reader
from tests.dashboard.conftest import ACCOUNTS, NOW_S, FakeReader, FakeStatus

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
"""How long a condition may take on a busy machine before it counts as never true."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip(f"needs a browser, one of: {', '.join(CHROMIUM)}; Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS, timeout=2 * PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, as its package for Python ships it."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@dataclass
class Engine:
    """A dashboard over fakes, on a port of its own, that can freeze, die and come back."""

    status: FakeStatus = field(default_factory=FakeStatus)
    reader: FakeReader = field(default_factory=FakeReader)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW_S))
    options: DashboardOptions = field(default_factory=lambda: DashboardOptions(accounts=ACCOUNTS))
    port: int = 0
    answered: list[tuple[str, int]] = field(default_factory=list)
    """The paths asked for, each with the status it was answered with."""

    def __post_init__(self) -> None:
        self._app = create_app(self.status, cast(Reader, self.reader), self.clock, self.options)
        self._thawed = threading.Event()
        self._thawed.set()
        self._dead = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._dead.clear()
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listening)), name="engine")
        self._thread.start()
        assert listening.wait(PATIENCE_MS / 1000)

    def die(self) -> None:
        """As a kill would: nobody listens any more."""
        self._thawed.set()
        self._dead.set()
        if self._thread is not None:
            self._thread.join()

    def freeze(self) -> None:
        """As SIGSTOP would: connections are taken, and nothing is ever answered."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def _serve(self, listening: threading.Event) -> None:
        listener = listen("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        async with serving(self._answer, listener, "engine", interface="asgi3"):
            listening.set()
            while not self._dead.is_set():
                await asyncio.sleep(0.01)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.answered.append((scope["path"], message["status"]))
            await send(message)

        while not self._thawed.is_set():
            await asyncio.sleep(0.01)
        await self._app(scope, receive, noting)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    engine.start()
    yield engine
    engine.die()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens an address in a fresh browser, its clock in the test's hand; nothing may be said on its console."""
    opened: list[BrowserContext] = []
    complaints: list[str] = []

    def opening(url: str, **context: Any) -> Page:
        made = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "timezone_id": "UTC", **context})
        opened.append(made)
        page = made.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.clock.install()
        page.goto(url)
        return page

    yield opening
    for context in opened:
        context.close()
    assert complaints == []
