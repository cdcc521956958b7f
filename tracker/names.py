"""What a node is called that lost its name to another one: by that name, and by its store.

Two trackers that never heard each other may give one name to two stores. One of them keeps it
(`tracker.members`); the other one goes on as `NAME~STORE`, the first 8 bytes of its store in hex.
The rule: that name follows from the two records alone, so that all who hear of both call both the
same; and nobody can choose it, since `~` is in no name that a person gives.
"""

from typing import Final

SIGN: Final = "~"
"""Stands between the name that was lost and the store."""
STORE_BYTES: Final = 8
"""Of a store, as the whole protocol tells stores apart."""
NAME_MAX: Final = 64
"""Characters of a name that a person gives."""
MEMBER_NAME_MAX: Final = NAME_MAX + len(SIGN) + 2 * STORE_BYTES
"""Characters of any name of a member."""
_HEX: Final = frozenset("0123456789abcdef")


def derived(name: str, store: bytes) -> str:
    """Return what the node with this store is called after it lost this name."""
    return f"{base_of(name)}{SIGN}{store[:STORE_BYTES].hex()}"


def base_of(name: str) -> str:
    """Return the name that was lost, of such a name; any other name itself."""
    return name.partition(SIGN)[0]


def is_derived(name: str) -> bool:
    """Whether a name is that of a node that lost its own."""
    return SIGN in name


def is_store_end(written: str) -> bool:
    """Whether this can stand behind the sign: the first bytes of a store, in hex."""
    return len(written) == 2 * STORE_BYTES and set(written) <= _HEX
