"""What a question for many keys costs a node of a million keys: `python -m benchmarks.prefix`.

Prints the CPU of each question, in all and of its longest step, which is what everything else on
that node waits for; and a full scan beside it. The rule: the keys are read as a node reads them,
by `counter.tables`, with the collector set as a daemon sets it.
"""

import sys
from random import Random
from time import process_time

from counter.crdt import Counters
from counter.keyindex import KeyIndex
from counter.messages import label, named, prefixed
from counter.tables import Search
from tracker.daemon import rare_collections

KEYS = 1_000_000


def main() -> None:
    """Fill a node, and ask it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else KEYS
    rng = Random(1)
    counters = Counters(bytes(16), 1)
    for number in range(count):
        counters.own.add(f"page:{rng.getrandbits(48):012x}/{number}", rng.randrange(10**6))
    with rare_collections():
        table(counters, count)


def table(counters: Counters, count: int) -> None:
    """Ask, and print a row for each question."""
    index = KeyIndex(counters.own.positive)
    print(f"{count} keys; CPU in ms\n  question          keys found   steps      all  longest step")
    begun = process_time()
    index.runs()
    print(f"  (first look)   {'':>13} {1:>7} {ms(begun):>8.1f} {ms(begun):>8.1f}")
    for question in [
        prefixed("page:ab"), prefixed("page:ab"), prefixed("page:abc"), prefixed("page:abcd"),
        prefixed("page:a"), prefixed(""), named("views", "clicks"),
    ]:  # fmt: skip
        row(question, counters, index)
    begun = process_time()
    found = len([key for key in counters.own.positive if key.startswith("page:ab")])
    print(f"  (a full scan)  {found:>13} {1:>7} {ms(begun):>8.1f} {ms(begun):>8.1f}")


def ms(begun: float) -> float:
    """Return the CPU time since `begun`, in ms."""
    return (process_time() - begun) * 1000


def row(question: str, counters: Counters, index: KeyIndex) -> None:
    """Ask once, and print what it cost."""
    search = Search(question, counters, [], [index])
    steps: list[float] = []
    answer = None
    while answer is None:
        begun = process_time()
        answer = search.step()
        steps.append(ms(begun))
    found = len(answer.rows) + answer.left_out
    told = f"  {label(question):<14} {found:>13} {len(steps):>7}"
    print(f"{told} {sum(steps):>8.1f} {max(steps):>8.1f}")


if __name__ == "__main__":
    main()
