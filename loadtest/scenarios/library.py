"""Where scenarios are found: the named ones beside this file, others by their path.

The rule: a file is read whole or refused with its name and the reason; what it says is the
business of `format`.
"""

from importlib import resources
from pathlib import Path

from loadtest.scenarios.fields import nearest
from loadtest.scenarios.format import FILE_CHARACTERS_MAX, parse
from loadtest.scenarios.tables import Scenario
from tracker.errors import ConfigError
from tracker.text import printable

SUFFIX = ".toml"


def names() -> list[str]:
    """Return the names of the library, in alphabetical order."""
    files = resources.files("loadtest.scenarios").iterdir()
    return sorted(file.name.removesuffix(SUFFIX) for file in files if file.name.endswith(SUFFIX))


def load(wanted: str, *, nodes: int | None = None) -> Scenario:
    """Return the scenario of that name, or in that file. Raises ConfigError.

    What has a slash or ends in `.toml` is a file; `nodes` takes the place of its number.
    """
    if "/" in wanted or wanted.endswith(SUFFIX):
        return parse(_text_of(Path(wanted)), Path(wanted).stem, printable(wanted, 200), nodes=nodes)
    known = names()
    if wanted not in known:
        shown = printable(wanted, 60)
        raise ConfigError(f'no scenario is called "{shown}"{nearest(wanted, known)}')
    file = f"{wanted}{SUFFIX}"
    text = resources.files("loadtest.scenarios").joinpath(file).read_text(encoding="utf-8")
    return parse(text, wanted, file, nodes=nodes)


def _text_of(path: Path) -> str:
    shown = printable(str(path), 200)
    try:
        with path.open("rb") as file:
            content = file.read(4 * FILE_CHARACTERS_MAX + 1)
        return content.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise ConfigError(f"cannot read {shown}: {printable(reason)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown} is not text in UTF-8 (byte {error.start})") from error
