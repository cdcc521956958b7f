"""`counter demo`: a whole cluster in one process, for the first minute with this program."""


def demo() -> int:
    """Run a tracker, five nodes, writers and a live query. Ends by itself within 15 s."""
    from counter.demo import run

    code: int = run()
    return code
