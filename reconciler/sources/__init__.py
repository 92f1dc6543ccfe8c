"""Where files come from: yields `records.snapshot` values. The only importer of watchfiles; the only caller of git,
ssh-keygen and gpg."""
