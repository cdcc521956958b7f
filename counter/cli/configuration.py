"""`counter config`: every setting, its value, and where the value comes from."""

import os
from typing import Any, Final

from counter.cli import options
from counter.cli.screens import DONE, note, on_terminal, out, out_json
from counter.cli.settings import KNOWN, PREFIX, Settings, nearest, shown_value
from tracker.native import SWITCH
from tracker.native.inventory import used
from tracker.text import printable

NATIVE_HELP: Final = f"the native modules in use; no setting, but {SWITCH}=0 turns them off"


def config(json: options.Json = False) -> int:
    """Print each setting, its value, and where it comes from."""
    settings = Settings()
    found = {name: settings.lookup(name) for name in KNOWN}
    for stranger in settings.strangers():
        hint = nearest(stranger.removeprefix(PREFIX))
        note(f"note: {printable(stranger, 60)} is no setting, and is ignored ({hint})")
    switch = SWITCH if os.environ.get(SWITCH) == "0" else "installation"
    if json:
        rows_by_name = {
            name: {"value": _plain(name, value), "source": where}
            for name, (value, where) in found.items()
        }
        rows_by_name["native"] = {"value": used(), "source": switch}
        out_json(rows_by_name)
        return DONE
    rows = [(name, shown_value(name, value), where) for name, (value, where) in found.items()]
    rows.append(("native", ", ".join(used()) or "none", switch))
    # The list of modules is as long as three values: what stands behind it need not line up.
    widths = [max(len(row[column]) for row in rows[:-1]) for column in range(2)]
    for name, value, where in rows:
        line = f"{name:{widths[0]}}  {value:{widths[1]}}  {where}"
        what = KNOWN[name].help if name in KNOWN else NATIVE_HELP
        out(f"{line:<{widths[0] + widths[1] + 14}}  {what}" if on_terminal() else line)
    return DONE


def _plain(name: str, value: Any) -> Any:
    """Return numbers and truths as they are, and the rest as it would be written."""
    if value is None or isinstance(value, bool | int):
        return value
    return shown_value(name, value)
