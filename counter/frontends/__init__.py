"""Other protocols in front of a node: each translates, and counts nothing itself."""
