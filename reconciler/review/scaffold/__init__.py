"""Scaffolds: the text of files that people would otherwise begin from nothing. Pure: says what, writes nothing."""
