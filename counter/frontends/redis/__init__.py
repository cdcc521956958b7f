"""The Redis front end: what Redis's clients say to a node, and what they are told (decision 25)."""
