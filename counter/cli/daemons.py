"""`counter tracker` and `counter node`: settings in, a daemon runs until it is told to stop.

The rule: nothing is decided here but where its settings come from.
"""

import gc
import os
import random
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from counter.cli import options
from counter.cli.options import Option
from counter.cli.screens import USAGE, CommandError
from counter.cli.settings import Settings, whole
from tracker.address import Endpoint
from tracker.config import TRACKER_PORT, parse_endpoint
from tracker.errors import ConfigError, StorageError
from tracker.names import base_of

HOST = "127.0.0.1"
_ADJECTIVES = (
    "amber", "bold", "brisk", "calm", "clear", "deft", "eager", "early", "fair", "gentle", "glad",
    "keen", "kind", "lively", "merry", "mild", "nimble", "proud", "quick", "quiet", "rapid",
    "ready", "silver", "steady", "swift", "tidy", "warm", "wise",
)  # fmt: skip
_NOUNS = (
    "badger", "beaver", "crane", "falcon", "finch", "fox", "gecko", "hare", "heron", "ibis",
    "lark", "lemur", "lynx", "marten", "mole", "newt", "otter", "owl", "plover", "raven", "robin",
    "seal", "stoat", "swan", "tern", "toad", "vole", "wren",
)  # fmt: skip

Listen = Annotated[
    str | None,
    Option("--listen", metavar="HOST:PORT", help="Where to listen. [env: COUNTER_LISTEN]"),
]
Data = Annotated[
    str | None,
    Option("--data", metavar="DIR", help="Where to keep what must last. [env: COUNTER_DATA]"),
]
Name = Annotated[
    str | None,
    Option(
        "--name",
        metavar="NAME",
        help="Its name; if missing, that of what is in --data, or made up. [env: COUNTER_NAME]",
    ),
]
Insecure = Annotated[
    bool,
    Option("--insecure", help="Allow listening beyond this machine, unprotected."),
]
Json = Annotated[bool, Option("--json", help="Log as JSON lines.")]
ForgetAfter = Annotated[
    str | None,
    Option(
        "--forget-after",
        metavar="TIME",
        help="Give up dead and stopped members after this long. [default: never]",
    ),
]


def tracker(
    listen: Listen = None,
    interval: Annotated[
        str | None,
        Option(
            "--interval",
            metavar="TIME",
            help="Time between heartbeats. [env: COUNTER_INTERVAL] [default: 1s]",
        ),
    ] = None,
    suspect_after: Annotated[
        str | None,
        Option(
            "--suspect-after",
            metavar="TIME",
            help="Silence that makes a suspect. [default: 3s, at least 3 intervals]",
        ),
    ] = None,
    dead_after: Annotated[
        str | None,
        Option("--dead-after", metavar="TIME", help="Time from suspect to dead. [default: 10s]"),
    ] = None,
    forget_after: ForgetAfter = None,
    data: Data = None,
    cluster: options.Cluster = None,
    insecure: Insecure = False,
    json: Json = False,
) -> int:
    """Run a tracker: it knows who belongs to the cluster. Everybody hears it every second."""
    _load("tracker.server")
    from tracker import server
    from tracker.config import TrackerConfig

    settings = Settings()
    interval_s: float = settings.get("interval", interval)
    suspect_after_s: float | None = settings.get("suspect-after", suspect_after)
    try:
        config = TrackerConfig(
            interval_s=interval_s,
            suspect_after_s=suspect_after_s or max(3.0, 3 * interval_s),
            dead_after_s=settings.get("dead-after", dead_after),
            forget_after_s=settings.get("forget-after", forget_after),
        )
    except ConfigError as error:
        raise CommandError(str(error), code=USAGE) from error
    endpoint = listen_endpoint(settings, listen) or (HOST, TRACKER_PORT)
    given = settings.get("data", data)
    own = f"tracker-{endpoint[0].replace(':', '.')}-{endpoint[1]}"
    return server.run(
        server.TrackerSettings(
            listen=endpoint,
            data=Path(given) if given else state_directory() / own,
            config=config,
            json=json,
            insecure=settings.get("insecure", insecure or None),
            cluster=settings.get("cluster", cluster),
        )
    )


def node(
    name: Name = None,
    listen: Listen = None,
    tracker: options.Tracker = None,
    data: Data = None,
    memory: Annotated[
        bool, Option("--memory", help="Keep counts in memory only. [env: COUNTER_MEMORY]")
    ] = False,
    redis: Annotated[
        str | None,
        Option(
            "--redis",
            metavar="HOST:PORT",
            help="Speak Redis's protocol there too, as 127.0.0.1:7480. [env: COUNTER_REDIS]",
        ),
    ] = None,
    chatter: options.Chatter = None,
    preset: Annotated[
        str | None,
        Option(
            "--preset",
            metavar="local|lan|wan",
            help="How far apart its peers are. [env: COUNTER_PRESET] [default: lan]",
        ),
    ] = None,
    cluster: options.Cluster = None,
    insecure: Insecure = False,
    json: Json = False,
    verbosity: options.Verbosity = 0,
) -> int:
    """Run a node: it counts by itself, and passes questions on."""
    _load("counter.service")
    from counter import service
    from counter.config import PRESETS
    from counter.node import NodeSettings
    from tracker.classes import replace

    settings = Settings()
    own_name: str = settings.get("name", name) or _kept_name(settings, data, memory)
    gossip = PRESETS[settings.get("preset", preset)]
    if (peers := settings.get("chatter", whole(chatter, "chatter"))) is not None:
        gossip = replace(gossip, chatter=peers)
    endpoint = listen_endpoint(settings, listen)
    insecure = settings.get("insecure", insecure or None)
    return service.run(
        NodeSettings(
            name=own_name,
            listen=endpoint or (HOST, 0),  # without a wish: the first free port from 7401 up
            trackers=settings.get("tracker", tracker),
            data=_data_directory(settings, own_name, data, memory),
            insecure=insecure,
            cluster=settings.get("cluster", cluster),
            verbose=verbosity,
            json=json,
            gossip=gossip,
            port_search=endpoint is None,
        ),
        _doors(endpoint_of(settings, "redis", redis), insecure=insecure),
    )


def _load(name: str) -> None:
    """Import what a daemon runs on; all that it makes meanwhile stays, so none is collected."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module(name)
    finally:
        if was_enabled:
            gc.enable()


def _doors(redis: Endpoint | None, *, insecure: bool) -> list[Any]:
    """Return the doors beside a node's own; raises ConfigError where a port is taken."""
    if redis is None:
        return []
    # A node that does not speak Redis's protocol does not load it.
    from counter.frontends.redis.door import RedisDoor

    return [RedisDoor(redis, insecure=insecure)]


def _data_directory(settings: Settings, name: str, data: str | None, memory: bool) -> Path | None:
    """Return where a node's counts are kept, None for --memory; the nearer source wins."""
    if data is not None and memory:
        raise CommandError("--data and --memory exclude each other", code=USAGE)
    if memory or (data is None and settings.get("memory")):
        return None
    given = settings.get("data", data)
    return Path(given) if given else state_directory() / name


def _kept_name(settings: Settings, data: str | None, memory: bool) -> str:
    """Return what a node without a name is called: as its directory says, else made up."""
    from counter.storage.directory import read_owner

    owner = None
    if (directory := _data_directory(settings, "", data, memory)) is not None:
        # What is wrong with it is said when it is opened.
        with suppress(StorageError):
            owner = read_owner(directory)
    return base_of(owner.name) if owner is not None else made_up_name()


def listen_endpoint(settings: Settings, flag: str | None) -> Endpoint | None:
    """Return where to listen, None if nobody said; port 0 asks for a free one."""
    return endpoint_of(settings, "listen", flag)


def endpoint_of(settings: Settings, name: str, flag: str | None) -> Endpoint | None:
    """Return the address that a setting holds, None if nobody said."""
    written, source = settings.lookup(name, flag)
    if written is None:
        return None
    try:
        return parse_endpoint(written, port_min=0)
    except ConfigError as error:
        where = f"--{name}" if source == "flag" else source
        raise CommandError(f"{where}: {error}", code=USAGE) from error


def state_directory() -> Path:
    """Return the directory under which daemons keep what must last."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "counter"


def made_up_name() -> str:
    """Return a readable name that is very likely new."""
    draw = random.SystemRandom()
    return f"{draw.choice(_ADJECTIVES)}-{draw.choice(_NOUNS)}-{draw.randrange(10, 100)}"
