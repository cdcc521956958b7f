"""Scenarios: what goes wrong in a simulated cluster, when, and what must hold all the same.

The rule: a scenario is a readable file (`format`), played by the machines people run (`stage`),
and judged by what was acknowledged and by who was really there, never by what a node believes
(`judge`). The named ones lie beside this file; begin at `play`.
"""
