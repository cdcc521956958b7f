"""The command line. The rule: nothing is imported here, so that `counter inc` stays instant."""


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    import sys

    try:
        from counter.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # While it was still loaded; nothing had begun.
        code = 130
    sys.exit(code)
