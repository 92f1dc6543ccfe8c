"""The database: desired state, history, events, the order ledger. The only importer of sqlite-utils and sqlite3.

`Store` is the engine's handle: one per database, it writes. `Reader` is everyone else's: it only reads,
with or without an engine running. `back_up`, `restore` and `examine` are about the database as a whole.
Nothing else of this folder is meant for other folders.
"""

from reconciler.store.copies import Restored, back_up, restore
from reconciler.store.examination import Examination, examine
from reconciler.store.reader import Reader
from reconciler.store.store import Store

__all__ = ["Examination", "Reader", "Restored", "Store", "back_up", "examine", "restore"]
