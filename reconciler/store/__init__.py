"""The database: desired state, history, events, the order ledger. The only importer of sqlite-utils and sqlite3.

`Store` is the engine's handle: one per database, it writes. `Reader` is everyone else's: it only reads,
with or without an engine running. `back_up`, `restore` and `examine` are about the database as a whole.
Nothing else of this folder is meant for other folders.
"""

import importlib
import sys

_UNUSED = ("pandas", "numpy")
"""What sqlite-utils imports where it finds it, for types that nothing is stored in here: seconds, on a slow disk."""


def _import_sqlite_utils() -> None:
    """Without what it has no use for here. What was imported already stays as it is."""
    absent = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: importing it is an ImportError
    try:
        importlib.import_module("sqlite_utils")
    finally:
        for name in absent:
            del sys.modules[name]


_import_sqlite_utils()  # before the first of these does

from reconciler.store.copies import Examination, Restored, back_up, examine, restore  # noqa: E402
from reconciler.store.reader import Reader  # noqa: E402
from reconciler.store.store import Store  # noqa: E402

__all__ = ["Examination", "Reader", "Restored", "Store", "back_up", "examine", "restore"]
