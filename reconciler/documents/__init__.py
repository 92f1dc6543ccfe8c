"""YAML text → plain values, with the line and column of each. Knows no record, no schema and no file."""
