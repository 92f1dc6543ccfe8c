"""GitOps for trading strategies: the running fleet is what was merged."""

__version__ = "0.1.0"
