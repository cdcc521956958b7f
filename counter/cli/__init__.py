"""The command line. The rule: nothing is imported here, so that `counter inc` stays instant."""


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    import os
    import signal
    import sys

    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Nothing has begun. As an exception Ctrl-C would be raised in the middle of an import,
            # which may take it for an error of its own, or lose it. `app` hands it on.
            signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
        from counter.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
