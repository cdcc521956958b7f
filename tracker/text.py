"""A printable form of any string that came from outside.

The rule: whatever leaves here holds no control, no direction mark, no surrogate and no line
break, so that a key or a name can neither move a cursor nor forge a line of a log.
"""

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_printable(text: str) -> bool:
    """Say whether every character of `text` may meet a terminal as it is."""
    if text.isascii():
        return text.isprintable()
    return all(unicodedata.category(character) not in _UNSAFE for character in text)


def printable(text: str, width_max: int = 256) -> str:
    """Return `text` with unsafe characters written as `\\xNN` or `\\uNNNN`, cut to `width_max`."""
    if not is_printable(text):
        text = "".join(
            c if unicodedata.category(c) not in _UNSAFE else _escaped(c)
            for c in text[: width_max + 1]
        )
    return text if len(text) <= width_max else text[: width_max - 1] + "…"


def _escaped(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
