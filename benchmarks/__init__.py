"""Speed, as ratios and costs per operation, each beside its reference in the same run."""
