"""Where a node keeps its identity and its counts: one interface, several stores."""
