"""The command line. The rule: nothing is imported here, so that `counter inc` stays instant."""


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    import sys

    try:
        from counter.cli.app import run
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
