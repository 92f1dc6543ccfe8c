"""Where files come from: yields `records.snapshot` values. The only importer of
watchfiles, and caller of git, ssh-keygen and gpg."""
