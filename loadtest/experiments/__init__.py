"""Experiments: one question each about how a cluster behaves, answered by one command.

`tables` is what they share and is pure; each experiment is a module of its own, known to
`library`. The rule: an experiment returns rows of plain numbers, and whatever is shown, logged,
drawn or kept in a page is made of those rows alone.
"""
