"""What an address is: a place to send datagrams to, or one open stream.

The rule: names only. It stands apart from the machine contract so that a command line that
counts once need not load that.
"""

Endpoint = tuple[str, int]
"""Host and port: a datagram peer, or the place to open a stream to."""

Link = int
"""One open stream, numbered by whoever carries out the effects; never used twice."""

Address = Endpoint | Link
