"""The simulator: any `tracker.machine.Machine` on a virtual clock, with faults, from a seed.

The rule: it knows the machine contract and nothing of trackers or counters; begin at `world`.
"""
