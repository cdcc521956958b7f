"""Ways to ask everybody: what the literature proposes, beside what the product does.

The rule: every strategy is a set of machines in the world that production machines run in, with
the same messages to be lost and the same clock; none is told what it could not know. Begin at
`trial`.
"""
