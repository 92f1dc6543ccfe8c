"""The style sheet and the script, read once when the dashboard is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    etag: str
    media_type: str


def load_assets() -> dict[str, Asset]:
    """Every file of `static/` by name."""
    folder = Path(__file__).parent / "static"
    return {path.name: _asset(path) for path in sorted(folder.iterdir()) if path.suffix in MEDIA_TYPES}


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', MEDIA_TYPES[path.suffix])
