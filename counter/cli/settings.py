"""Where a setting comes from: flag > environment > ./counter.toml > user's file > default.

The rule: a file is believed as a whole or not at all. An unknown name, a wrong type and a
value out of range are refused with the place they stand in, whichever command runs.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from counter.cli.screens import CommandError
from tracker.config import (
    parse_duration,
    parse_endpoint,
    parse_member_name,
    parse_name,
    shown_endpoint,
)
from tracker.errors import ConfigError
from tracker.text import printable

FILE_NAME = "counter.toml"
FILE_BYTES_MAX = 1_048_576
TRACKERS_MAX = 16
PREFIX = "COUNTER_"
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

Parse = Callable[[Any], Any]


def _text(raw: Any) -> str:
    if type(raw) is not str:
        raise ConfigError(f"wants a text in quotes, got {_shown(raw)}")
    return raw


def _whole(low: int, high: int) -> Parse:
    def parse(raw: Any) -> int:
        if type(raw) is not int:
            raise ConfigError(f"wants a whole number without quotes, got {_shown(raw)}")
        if not low <= raw <= high:
            raise ConfigError(f"is {raw}, needs {low} to {high}")
        return raw

    return parse


def _flag(raw: Any) -> bool:
    if type(raw) is not bool:
        raise ConfigError(f"wants true or false, got {_shown(raw)}")
    return raw


def _duration(low_s: float, high_s: float) -> Parse:
    def parse(raw: Any) -> float:
        seconds = parse_duration(_text(raw))
        if not math.isfinite(seconds) or not low_s <= seconds <= high_s:
            raise ConfigError(
                f"is {printable(raw, 40)}, needs {shown_duration(low_s)}"
                f" to {shown_duration(high_s)}"
            )
        return seconds

    return parse


def _choice(*words: str) -> Parse:
    def parse(raw: Any) -> str:
        if _text(raw) not in words:
            raise ConfigError(f"is {_shown(raw)}, needs one of {', '.join(words)}")
        return str(raw)

    return parse


def _trackers(raw: Any) -> tuple[tuple[str, int], ...]:
    """Take `HOST:PORT,HOST:PORT`, or in a file a list of them."""
    parts = raw if type(raw) is list else _text(raw).split(",")
    if not 1 <= len(parts) <= TRACKERS_MAX:
        raise ConfigError(f"names {len(parts)} addresses, needs 1 to {TRACKERS_MAX}")
    return tuple([parse_endpoint(_text(part).strip()) for part in parts])


def _node(raw: Any) -> str:
    text = _text(raw)
    if ":" in text:
        parse_endpoint(text)
    else:
        parse_member_name(text)
    return text


def _path(raw: Any) -> str:
    if not _text(raw) or "\0" in raw:
        raise ConfigError(f"is {_shown(raw)}, needs a directory")
    return str(raw)


def _cluster(raw: Any) -> str:
    return parse_name(_text(raw), what="cluster name")


def parse_until(raw: Any) -> tuple[str, int]:
    """Return (`all`, 0), (`share`, thousandths) or (`stable`, ms); raises ConfigError."""
    from counter.client import options

    return options.parse_until(_text(raw))


class Setting:
    """One setting: its name on every road (flag, environment, file), its check, its default."""

    __slots__ = ("default", "help", "name", "parse", "unset")

    def __init__(self, name: str, parse: Parse, default: Any, text: str, unset: str = "-") -> None:
        self.name = name
        self.parse = parse
        self.default = default
        self.help = text
        # What holds while the value is None, in words.
        self.unset = unset

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper().replace("-", "_")


_ALL = (
    Setting("tracker", _trackers, (("127.0.0.1", 7400),), "where trackers listen"),
    Setting("node", _node, None, "the node to talk to, by name or address", "any"),
    Setting(
        "pick", _choice("least-active", "random", "round-robin"), "least-active",
        "which node takes an increment or a query",
    ),
    Setting("ack", _choice("memory", "disk"), None, "what an acknowledgement promises", "disk"),
    Setting(
        "deadline", _duration(0.001, 600.0), None, "longest wait for an answer",
        "2s for a query, else 5s",
    ),
    Setting("chatter", _whole(1, 64), None, "peers each node passes a query to", "10"),
    Setting("max-age", _whole(1, 255), None, "hops a query may travel", "enough"),
    Setting(
        "max-visits", _whole(1, 32), None, "rounds each node gives a query",
        "1, or 5 with a chatter below 3",
    ),
    Setting("until", parse_until, None, "when a query may stop early", "all"),
    Setting("cluster", _cluster, "default", "the cluster's name; others are refused"),
    Setting("listen", _text, None, "HOST:PORT a daemon listens on"),
    Setting("redis", _text, None, "HOST:PORT where a node speaks Redis's protocol", "off"),
    Setting("name", parse_name, None, "the node's name", "made up"),
    Setting("data", _path, None, "a daemon's directory"),
    Setting("memory", _flag, False, "keep a node's counts in memory only"),
    Setting("insecure", _flag, False, "allow listening beyond this machine, unprotected"),
    Setting(
        "preset", _choice("local", "lan", "wan"), "lan", "how far apart a node's peers are"
    ),
    Setting("interval", _duration(0.05, 60.0), 1.0, "time between a tracker's heartbeats"),
    Setting(
        "suspect-after", _duration(0.1, 3600.0), None, "silence that makes a member suspect", "3s"
    ),
    Setting("dead-after", _duration(0.1, 86_400.0), 10.0, "time from suspect to dead"),
    Setting(
        "forget-after", _duration(0.1, 31_536_000.0), None, "time from dead to given up", "never"
    ),
)  # fmt: skip
KNOWN: Mapping[str, Setting] = {setting.name: setting for setting in _ALL}


class Settings:
    """The settings of one run; files are read when it is made."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._files = [(shown, read_file(path)) for path, shown in self.paths()]

    def paths(self) -> list[tuple[str, str]]:
        """Return (path, as shown) of the two files, the stronger one first."""
        home = self._environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        user = os.path.join(home, "counter", FILE_NAME)
        return [(FILE_NAME, f"./{FILE_NAME}"), (user, printable(user))]

    def get(self, name: str, flag: Any = None) -> Any:
        """Return a setting's value; `flag` is what the command line says, None for nothing."""
        return self.lookup(name, flag)[0]

    def lookup(self, name: str, flag: Any = None) -> tuple[Any, str]:
        """Return (value, where it comes from); raises CommandError for a senseless one."""
        setting = KNOWN[name]
        if flag is not None:
            return _checked(setting, flag, f"--{name}"), "flag"
        written = self._environment.get(setting.variable)
        if written:
            where = setting.variable
            return _checked(setting, _from_text(setting, written), where), where
        for shown, values in self._files:
            if name in values:
                return values[name], shown
        return setting.default, "default"

    def strangers(self) -> list[str]:
        """Return the COUNTER_* variables that are no setting (a platform may set some)."""
        known = {setting.variable for setting in _ALL}
        return sorted(
            name for name in self._environment if name.startswith(PREFIX) and name not in known
        )


def read_file(path: str) -> dict[str, Any]:
    """Return the checked settings of a file, {} if there is none; raises CommandError."""
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"{shown} cannot be read ({reason})", code=2) from error
    if len(data) > FILE_BYTES_MAX:
        raise CommandError(f"{shown} is larger than {FILE_BYTES_MAX} bytes", code=2)
    import tomllib

    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise CommandError(f"{shown} is not UTF-8 (byte {error.start})", code=2) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CommandError(f"{shown}: {printable(str(error))}", code=2) from error
    values = {}
    for raw_name, raw in table.items():
        setting = KNOWN.get(raw_name.replace("_", "-"))
        if setting is None:
            raise CommandError(
                f'{shown}: unknown setting "{printable(raw_name, 60)}"', nearest(raw_name), code=2
            )
        values[setting.name] = _checked(setting, raw, f"{shown}: {setting.name}")
    return values


def whole(written: str | None, name: str) -> Any:
    """Return the number a flag holds, None for none; raises CommandError."""
    if written is None:
        return None
    digits = written[1:] if written[:1] == "-" else written
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise CommandError(f'--{name}: "{printable(written, 40)}" is no whole number', code=2)
    return int(written)


def nearest(name: str) -> str:
    """Return a hint that names the setting most like `name`."""
    import difflib

    close = difflib.get_close_matches(name.replace("_", "-").lower(), list(KNOWN), 1, 0.5)
    return f"did you mean {close[0]}?" if close else "all settings:  counter config"


def _from_text(setting: Setting, written: str) -> Any:
    """Return what a text from the environment means, as a file would have it."""
    if isinstance(setting.default, bool):
        return _TRUTHS.get(written.lower(), written)
    if setting.name in ("chatter", "max-age", "max-visits") and _WHOLE.fullmatch(written):
        return int(written)
    return written


def _checked(setting: Setting, raw: Any, where: str) -> Any:
    try:
        return setting.parse(raw)
    except ConfigError as error:
        text = str(error)
        joint = " " if text.startswith(("is ", "wants ", "needs ", "names ")) else ": "
        raise CommandError(f"{where}{joint}{text}", code=2) from error


def _shown(raw: Any) -> str:
    if type(raw) is bool:  # as it stands in the file
        return "true" if raw else "false"
    return f'"{printable(raw, 40)}"' if type(raw) is str else printable(repr(raw), 40)


def shown_duration(seconds: float) -> str:
    """Return a duration in the form in which it is written."""
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def shown_value(name: str, value: Any) -> str:
    """Return a setting's value as it would be written."""
    if value is None:
        return KNOWN[name].unset
    if name == "tracker":
        return ",".join([shown_endpoint(endpoint) for endpoint in value])
    if name == "until":
        kind, amount = value
        return {"all": "all", "share": f"{amount / 10:g}%", "stable": f"stable:{amount}ms"}[kind]
    if isinstance(value, bool):
        return str(value).lower()
    return shown_duration(value) if isinstance(value, float) else printable(str(value))
