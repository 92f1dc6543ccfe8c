"""JSON Schema in our words: what a value breaks, where, and how to mend it. Knows no record."""
