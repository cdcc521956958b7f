"""Count page views from several threads of a program, and look at the busiest pages.

    python examples/pageviews.py --tracker 127.0.0.1:7400

Each thread stands for a worker of a web server. Views are added, which costs a worker next to
nothing; an order is counted before it is confirmed. The rule: what is shown at the end is asked of
the cluster, and compared with what the workers did.
"""

import argparse
import random
import sys
import threading
from collections import Counter

from counter import Client, ClusterError

WORKERS = 4
VIEWS = 5_000
ORDERS = 25
PAGES = [f"page:{name}" for name in ("home", "cart", "about", "search", "help")]


def work(client: Client, seed: int, done: Counter[str]) -> None:
    """Serve some pages and take some orders; notes in `done` what it did."""
    chance = random.Random(seed)
    for number in range(VIEWS):
        page = PAGES[int(chance.paretovariate(1.2)) % len(PAGES)]
        client.add(page)
        done[page] += 1
        if number % (VIEWS // ORDERS) == 0:
            client.incr("orders")
            done["orders"] += 1


def main() -> int:
    """Run the workers, then ask; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracker", default=None, help="HOST:PORT of a tracker")
    where = parser.parse_args().tracker
    done = [Counter[str]() for _ in range(WORKERS)]
    try:
        with Client(where) as client:
            before = {row.key: row.value for row in client.query("page:*").keys}
            threads = [
                threading.Thread(target=work, args=(client, seed, done[seed]))
                for seed in range(WORKERS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            client.flush()
            pages = client.query("page:*")
            orders = client.query("orders")
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    expected = sum(done, Counter())
    wrong = [row for row in pages.keys if row.value - before.get(row.key, 0) != expected[row.key]]
    for row in pages.keys:
        print(f"{row.value:>8}  {row.key}")
    print(f"{orders.value:>8}  orders")
    if wrong or not pages.complete:
        print(f"error: {pages.reason}; not what was counted: {wrong}", file=sys.stderr)
        return 1
    print(f"all {len(pages.keys)} pages are complete and exact")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
