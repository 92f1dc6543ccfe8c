"""What is wrong with files, and the formats in which that is told."""
