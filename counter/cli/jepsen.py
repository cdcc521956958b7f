"""`counter maelstrom`: settings in, one node of a Maelstrom test runs until its stdin ends.

The rule: where its data is comes from the command line alone. A directory of `COUNTER_DATA` or of a
file would be shared by one test after another, and the second would begin with the counts of the
first.
"""

from typing import Annotated

from counter.cli import options
from counter.cli.options import Option
from counter.cli.settings import Settings


def maelstrom(
    data: Annotated[
        str | None,
        Option(
            "--data",
            metavar="DIR",
            help="Keep counts in DIR/NODE; a new DIR for each test. [default: in memory]",
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        Option(
            "--deadline",
            metavar="TIME",
            help="Longest wait for the answer to a read. [env: COUNTER_DEADLINE] [default: 3s]",
        ),
    ] = None,
    strict: Annotated[
        bool,
        Option("--strict", help="Answer a read that is incomplete with error 11, not a value."),
    ] = False,
    verbosity: options.Verbosity = 0,
) -> int:
    """Run a node of a Maelstrom test, on stdin and stdout.

    Its workloads are g-counter and pn-counter, in JSON lines.
    """
    from pathlib import Path

    from counter import maelstrom as service

    deadline_s: float | None = Settings().get("deadline", deadline)
    return service.run(
        service.MaelstromSettings(
            data=Path(data) if data is not None else None,
            deadline_s=deadline_s or service.DEADLINE_S,
            is_strict=strict,
            verbose=verbosity,
        )
    )
