"""The names of sessions: sixteen bytes, in which a client may say when it made them.

    stamped     C7 53 54 01 · seconds, 4 bytes · 8 bytes of chance, or of a token's hash
    unstamped   any other sixteen bytes

The rule: a stamp never decides whether something counts. It only orders sessions, so that a
node may say of all those it has forgotten, in one number, how far they reach (`forgotten`).
A clock that is wrong can therefore make a node refuse, and nothing worse.

A token is what people see of a session. Those made here are ULIDs (github.com/ulid/spec): the
milliseconds, then 80 bits of chance, in the 32 letters of Crockford, 26 in all.
"""

from typing import Final

from tracker.digest import blake2b

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TOKEN_CHANCE_BYTES: Final = 10

_MARK: Final = b"\xc7ST\x01"
_TIME_CHARACTERS: Final = 10
_CHANCE_CHARACTERS: Final = 16
_STAMPS_END: Final = 2**32


def new_session(seconds: int, chance: bytes) -> bytes:
    """Return a stamped session of 8 bytes of chance, made at this second of Unix time."""
    return _MARK + (max(1, seconds) % _STAMPS_END).to_bytes(4, "big") + chance[:8]


def stamp_of(session: bytes) -> int:
    """Return the second in which a session says it was made; 0 for one without a stamp."""
    return int.from_bytes(session[4:8], "big") if session[:4] == _MARK else 0


def new_token(milliseconds: int, chance: bytes) -> str:
    """Return a token of 10 bytes of chance that can be read aloud and typed."""
    return _letters(milliseconds % 2**48, _TIME_CHARACTERS) + _letters(
        int.from_bytes(chance[:TOKEN_CHANCE_BYTES], "big"), _CHANCE_CHARACTERS
    )


def session_of(token: str, block: int = 0) -> bytes:
    """Return the session a token stands for; the same token is always the same session.

    A long input has one session for each `block` of its lines. A token that is not of the form
    of `new_token`, a date or the number of an order, stands for a session without a stamp.
    """
    marked = f"{token}\0{block}" if block else token
    seconds = _seconds_of(token)
    if seconds is None:
        hashed: bytes = blake2b(marked.encode(), digest_size=16).digest()
        return hashed
    return new_session(seconds, blake2b(marked.encode(), digest_size=8).digest())


def _seconds_of(token: str) -> int | None:
    if len(token) != _TIME_CHARACTERS + _CHANCE_CHARACTERS:
        return None
    digits = [ALPHABET.find(character) for character in token]
    if min(digits) < 0:
        return None
    milliseconds = 0
    for digit in digits[:_TIME_CHARACTERS]:
        milliseconds = milliseconds << 5 | digit
    seconds = milliseconds // 1000
    return seconds if 0 < seconds < _STAMPS_END else None


def _letters(number: int, count: int) -> str:
    shifts = range(5 * (count - 1), -1, -5)
    return "".join([ALPHABET[number >> shift & 31] for shift in shifts])
