"""Where `loadtest` begins. The rule: nothing is imported before Ctrl-C is answered for."""

import gc
import sys


def main() -> None:
    """Run the command in `sys.argv` and exit with its code; interrupted, even at this, with 130."""
    try:
        from loadtest.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        run()
    finally:
        # The process ends: what is left of its clusters goes with it, and nobody walks through it.
        gc.freeze()
