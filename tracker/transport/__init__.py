"""Transports: how bodies of bytes reach another process, and how they come in."""
