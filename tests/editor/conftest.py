"""The language server that editors run, at work on the example fleet with its committed schemas and settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.editor.language_server import LanguageServer, Window

ROOT = Path(__file__).parents[2]
SERVER = ROOT / ".editor" / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
OFFLINE = {"yaml.schemaStore.enable": False, "yaml.kubernetesCRDStore.enable": False}

MODELINE = "# yaml-language-server: $schema=../schemas/instance.schema.json\n"
NUMBERS = count(1)

Open = Callable[[str], Window]


@pytest.fixture(scope="session")
def language_server() -> Iterator[LanguageServer]:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm: they bring the language server that editors run")
    assert SERVER.exists(), "not installed; make test does it"
    settings = json.loads((ROOT / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    server = LanguageServer.start([node, str(SERVER), "--stdio"], ROOT, {**settings, **OFFLINE})
    yield server
    server.stop()


@pytest.fixture
def window(language_server: LanguageServer) -> Open:
    """Opens a new instance that its modeline makes known. `|` is the cursor."""
    return lambda text: language_server.open(f"instances/new-{next(NUMBERS)}.yaml", MODELINE + text)
