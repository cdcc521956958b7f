"""`loadtest`: a cluster under load, and whether it counted right. Parse, run, print.

The rule: results go to stdout and nothing else does; how far the run is goes to stderr. With
`--json` the last line of stdout is the report, whatever happened before.
"""

import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import counter
from counter.cli import screens
from counter.cli.app import run as run_command
from counter.cli.full import invoked
from counter.cli.screens import INTERRUPTED, USAGE, CommandError
from counter.cli.settings import whole
from loadtest import plan as plans
from loadtest import thresholds, timeline
from loadtest.commands import COMMANDS
from loadtest.options import (
    NODES,
    Chatter,
    Crash,
    Duration,
    Json,
    Keys,
    Latency,
    Limits,
    Loss,
    Nodes,
    Partition,
    Pause,
    Pick,
    Processes,
    Queries,
    QueriesPerS,
    Rate,
    Restart,
    Seed,
    Sockets,
    Virtual,
    Writers,
    Zipf,
)
from loadtest.plan import Plan
from loadtest.thresholds import Threshold
from tracker.config import parse_duration
from tracker.daemon import rare_collections
from tracker.errors import ConfigError
from tracker.text import printable

if TYPE_CHECKING:
    from loadtest.runs import Run

SEEDS = 1_000_000
LOGS = "logs"
FAILED = 99
SOCKETS, PROCESSES, VIRTUAL = "sockets", "processes", "virtual"
COMMAND = "run"

_OF_WRITERS = ("writers", "rate", "duration_s", "key_count", "zipf", "pick")
_OF_WRITES = ("rate", "zipf", "pick")
_OF_GOSSIP = ("chatter", "latency_s", "loss")
_FLAGS = {"key_count": "keys", "queries_per_s": "queries-per-s"}
EXACT = 1e-6
"""Shares have so few digits: what is nearer to a whole number of nodes is one."""
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    code = run_command(sys.argv[1:], _dispatch)
    # All is told, and whoever asks for the end has it: the interpreter takes a moment to leave.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _dispatch(arguments: list[str], verbosity: int) -> int:
    if arguments[:1] == ["--version"]:
        screens.out(f"loadtest {counter.__version__}")
        return screens.DONE
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    first = arguments[0] if arguments else ""
    other = COMMANDS.get(first)
    name = f"loadtest {first}" if other is not None else "loadtest"
    app.command(name)(other or load)
    rest = arguments[1:] if other is not None or first == COMMAND else arguments
    return invoked(app, name, rest)


def load(
    nodes: Nodes = None,
    chatter: Chatter = None,
    latency: Latency = None,
    loss: Loss = None,
    crash: Crash = None,
    restart: Restart = None,
    partition: Partition = None,
    pause: Pause = None,
    writers: Writers = None,
    rate: Rate = None,
    keys: Keys = None,
    zipf: Zipf = None,
    pick: Pick = None,
    queries: Queries = None,
    queries_per_s: QueriesPerS = None,
    duration: Duration = None,
    on_sockets: Sockets = False,
    in_processes: Processes = False,
    virtually: Virtual = False,
    seed: Seed = None,
    threshold: Limits = None,
    json: Json = False,
) -> int:
    """Start many nodes, count and query, and check that nothing was lost or counted twice.

    Beside this: `loadtest report LOG` draws a run, `loadtest compare A B` sets two beside each
    other, and alone compares ways to ask; `loadtest scenario NAME` plays a situation, `loadtest
    experiment NAME` repeats a measurement, `loadtest scenarios` and `experiments` list them.
    """
    mode = _mode({SOCKETS: on_sockets, PROCESSES: in_processes, VIRTUAL: virtually})
    asked = _limits(threshold or [])
    plan = _plan(
        mode,
        nodes=whole(nodes, "nodes"),
        chatter=whole(chatter, "chatter"),
        latency_s=_duration(latency, "latency"),
        writers=whole(writers, "writers"),
        rate=_number(rate, "rate", "increments a second"),
        key_count=whole(keys, "keys"),
        zipf=_number(zipf, "zipf", "how skewed keys are"),
        pick=pick,
        queries=whole(queries, "queries"),
        queries_per_s=_number(queries_per_s, "queries-per-s", "queries a second"),
        duration_s=_duration(duration, "duration"),
        **_faults(restart, {"crash": crash, "partition": partition, "pause": pause, "loss": loss}),
        seed=whole(seed, "seed"),
    )
    return _carry_out(plan, mode, asked, as_json=json)


# -- parsing --------------------------------------------------------------------------------


def _mode(asked: dict[str, bool]) -> str:
    """Return the way to run that was asked for, on sockets if none was."""
    modes = [mode for mode, is_asked in asked.items() if is_asked]
    if len(modes) > 1:
        raise CommandError(f"--{modes[0]} and --{modes[1]} exclude each other", code=USAGE)
    return modes[0] if modes else SOCKETS


def _plan(mode: str, *, nodes: int | None, seed: int | None, **given: Any) -> Plan:
    """Return the plan; what was not given keeps its default."""
    count = NODES if nodes is None else nodes
    number = secrets.randbelow(SEEDS) if seed is None else seed
    asked = {name: value for name, value in given.items() if value is not None}
    _check_queries(asked)
    is_large = _is_large(mode, count)
    if is_large and (asked.get("happenings") or "queries_per_s" in asked):
        text = f"above {plans.BARE_ABOVE} virtual nodes there are queries alone, one after another"
        raise CommandError(f"--virtual: {text}: nothing happens at a time", code=USAGE)
    idle = _idle(count, asked, is_large=is_large)
    try:
        plan = _timed(replace(_plain(mode, count, number), **asked))
    except ConfigError as error:
        raise CommandError(f"--{error}", code=USAGE) from error
    for why, names in idle.items():
        told = ", ".join([f"--{_FLAGS.get(name, name.removesuffix('_s'))}" for name in names])
        screens.note(f"note: {why}: {told} changes nothing")
    wanted = plan.crash * plan.nodes
    if abs(plan.crashes - wanted) > EXACT:
        share = timeline.shown_share(plan.crash)
        told = f"{plan.crashes} {'is' if plan.crashes == 1 else 'are'} ended"
        screens.note(f"note: --crash {share} of {plan.nodes} nodes is {wanted:.4g}: {told}")
    return plan


def _idle(nodes: int, asked: dict[str, Any], *, is_large: bool) -> dict[str, list[str]]:
    """Return what was asked for and changes nothing, by why that is; a large run drops it."""
    found: dict[str, list[str]] = {}
    if is_large:
        why = "nobody writes to so many virtual nodes"
        found[why] = [name for name in _OF_WRITERS if asked.pop(name, None)]
    elif asked.get("writers") == 0:
        found["nobody writes"] = [name for name in _OF_WRITES if name in asked]
    if nodes == 1:
        found["a node alone sends no gossip"] = [name for name in _OF_GOSSIP if asked.get(name)]
    return {why: names for why, names in found.items() if names}


def _plain(mode: str, nodes: int, seed: int) -> Plan:
    """Return the plan of whoever says nothing more than this."""
    if _is_large(mode, nodes):
        from loadtest.large import QUERIES

        return Plan(nodes=nodes, seed=seed, writers=0, queries=QUERIES)
    return Plan(nodes=nodes, seed=seed, writers=plans.writers_for(nodes))


def _is_large(mode: str, nodes: int) -> bool:
    """Say whether only queries are run, in the simulator without a tracker."""
    return mode == VIRTUAL and nodes > plans.BARE_ABOVE


def _limits(written: Sequence[str]) -> list[Threshold]:
    if len(written) > thresholds.THRESHOLDS_MAX:
        text = f"{len(written)} thresholds, at most {thresholds.THRESHOLDS_MAX}"
        raise CommandError(text, code=USAGE)
    try:
        return [thresholds.parse(text) for text in written]
    except ConfigError as error:
        raise CommandError(f"--threshold {error}", code=USAGE) from error


def _duration(written: str | None, name: str) -> float | None:
    if written is None or written == "0":
        return None if written is None else 0.0
    try:
        return parse_duration(written)
    except ConfigError as error:
        raise CommandError(f"--{name}: {error}", code=USAGE) from error


def _number(written: str | None, name: str, of: str) -> float | None:
    if written is None:
        return None
    if _NUMBER.fullmatch(written) is None:
        shown = printable(written, 40)
        raise CommandError(f'--{name}: "{shown}" is not a number: {of}', code=USAGE)
    return float(written)


def _faults(restart: str | None, written: dict[str, list[str] | None]) -> dict[str, Any]:
    """Return the fields of a plan that say what happens to nodes."""
    texts = {kind: list(given or ()) for kind, given in written.items()}
    try:
        always, happenings = timeline.gathered(texts, _duration(restart, "restart"))
    except ConfigError as error:
        raise CommandError(str(error), code=USAGE) from error
    return {**always, "happenings": happenings}


def _check_queries(asked: dict[str, Any]) -> None:
    if "queries" in asked and "queries_per_s" in asked:
        raise CommandError("--queries and --queries-per-s exclude each other", code=USAGE)
    if asked.get("queries_per_s") == 0.0:
        raise CommandError("--queries-per-s is 0: leave queries out by --queries 0", code=USAGE)


def _timed(plan: Plan) -> Plan:
    """Return the plan with as many queries as there are a second, if that was said."""
    if not plan.queries_overlap:
        return plan
    return replace(plan, queries=max(1, round(plan.queries_per_s * plan.duration_s)))


# -- running --------------------------------------------------------------------------------


def _carry_out(plan: Plan, mode: str, asked: list[Threshold], *, as_json: bool) -> int:
    """Run a plan, print its report; returns the exit code."""
    from loadtest import ending, progress, provenance
    from loadtest.report import RunLog

    make, play = _stage(plan, mode)
    repeat = command(plan, mode, asked)
    with RunLog(Path(LOGS), plan.situation(mode)) as log:
        log.write({"run": {"repeat": repeat, **provenance.facts()}})
        with closing(progress.shown(plan)) as watcher:
            run = make(plan, watcher=watcher, log=log)
            try:
                with rare_collections(), _interruptible(run):
                    play(run)
                    run.stop.over()
                with _interruptible(run):
                    watcher.close()
                    if cost := watcher.cost():
                        log.write({"screen": cost})
                    if run.is_booted:
                        return ending.report(run, mode, asked, log, repeat, as_json=as_json)
            except KeyboardInterrupt:
                if not run.stop.is_over:
                    log.write({"end": {"interrupted": True, "why": "twice: at once"}})
                screens.note("interrupted twice: ended at once")
                raise
        log.write({"end": {"interrupted": True, "why": "before all nodes were up"}})
        screens.note("interrupted before all nodes were up: nothing was measured")
        return INTERRUPTED


def _stage(plan: Plan, mode: str) -> tuple[type["Run"], Callable[[Any], None]]:
    """Return what a plan is run by: how the run is made, and who carries it out."""
    from loadtest import large, sockets, virtual
    from loadtest.runs import Run

    try:
        if mode != VIRTUAL:
            screens.note(sockets.check_fits(plan, mode))
            return Run, partial(sockets.run, mode=mode)
        if _is_large(mode, plan.nodes):
            large.check_fits(plan.nodes)
            return large.LargeRun, large.run
    except ConfigError as error:
        raise CommandError(str(error), code=USAGE) from error
    return Run, virtual.run


def command(plan: Plan, mode: str, asked: Sequence[Threshold] = ()) -> str:
    """Return the command line that makes the same run again."""
    plain = _plain(mode, plan.nodes, plan.seed)
    words = ["loadtest", "--nodes", str(plan.nodes)]
    if mode != SOCKETS:
        words.append(f"--{mode}")
    shown = {
        "chatter": str(plan.chatter),
        "latency_s": f"{round(1000 * plan.latency_s, 6):g}ms",
        "loss": f"{round(100 * plan.loss, 6):g}%",
        "crash": f"{round(100 * plan.crash, 6):g}%",
        "writers": str(plan.writers),
        "rate": f"{plan.rate:.10g}",
        "key_count": str(plan.key_count),
        "zipf": f"{plan.zipf:.10g}",
        "pick": plan.pick,
        "queries": str(plan.queries),
        "queries_per_s": f"{plan.queries_per_s:.10g}",
        "duration_s": f"{round(plan.duration_s, 6):g}s",
    }
    if plan.queries_overlap:
        del shown["queries"]
    for name, value in shown.items():
        if getattr(plan, name) != getattr(plain, name):
            words += [f"--{_FLAGS.get(name, name.removesuffix('_s'))}", value]
    for each in plan.happenings:
        words += [f"--{each.kind}", each.written]
    words += ["--seed", str(plan.seed)]
    for limit in asked:
        words += ["--threshold", f"'{limit.written}'"]
    return " ".join(words)


@contextmanager
def _interruptible(run: "Run") -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask for the end instead of taking it."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = [signal.signal(number, lambda *_: run.stop.wish()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)
