"""What CI, pull requests and editors see: reports on files, and records with the origin of each value. Pure,
but for `comment`, which CI runs to keep a pull request's comment up to date.
"""
