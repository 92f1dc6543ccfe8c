"""Where files come from. The only importer of watchfiles and the only caller of git; yields `records.snapshot` values."""
