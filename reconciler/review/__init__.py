"""What CI, pull requests and editors see: reports on files, and records with the origin of each value. Pure."""
