"""Membership, and how bytes travel: the ground floor that `counter` and `loadtest` stand on.

Nothing in this package knows what a counter is.
"""
