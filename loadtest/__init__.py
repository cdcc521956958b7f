"""Clusters under load: real ones in one process, simulated ones, and what is checked of them."""
