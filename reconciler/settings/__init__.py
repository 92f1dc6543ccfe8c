"""The settings: `reconciler.yaml`, the environment and flags → one frozen value. Reads that file and nothing else."""

from reconciler.settings.loading import FILE, load
from reconciler.settings.schema import SCHEMA, scalars
from reconciler.settings.values import Settings

__all__ = ["FILE", "SCHEMA", "Settings", "load", "scalars"]
