"""Talking to a cluster from outside: the session without I/O, and connections over it.

The rule: nothing is imported here, so that a small program pays only for what it uses.
"""
