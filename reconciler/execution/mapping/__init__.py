"""Translating the contract onto a server's own words, and its answers back. Pure, but for reading ready-made ones."""
