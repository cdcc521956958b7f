"""Run every benchmark: `python -m benchmarks`, or some of them by name."""

import sys
from importlib import import_module

ALL = ("gossip", "door", "membership", "startup")


def main() -> None:
    """Run those named on the command line, or all."""
    chosen = sys.argv[1:] or ALL
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]}; there are {', '.join(ALL)}")
    for name in chosen:
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
