"""Hosts running instances: load, tick, render, unload; deadlines; contexts. Knows no files, no SQLite, no MCP."""
