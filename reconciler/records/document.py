"""The old door to `reconciler.documents.document`, kept for scripts of others that came in here."""

from reconciler.documents.document import Document, Mark, parse

__all__ = ["Document", "Mark", "parse"]
