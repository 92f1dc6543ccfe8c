"""The settings: `reconciler.yaml`, the environment and flags → one frozen value. Reads that file and nothing else."""

from reconciler.settings.loading import FILE, accounts_in, load, signatures_in
from reconciler.settings.schema import SCHEMA, scalars
from reconciler.settings.values import CONTROL_SOCKET, DATABASE, STATE_DIR, Settings

__all__ = [
    "CONTROL_SOCKET",
    "DATABASE",
    "FILE",
    "SCHEMA",
    "STATE_DIR",
    "Settings",
    "accounts_in",
    "load",
    "scalars",
    "signatures_in",
]
