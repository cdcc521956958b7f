"""Valid messages spoiled in every way there is, so that who reads bytes meets each of them.

The rule: the same bytes give the same spoiled ones in the same order, none of which is the valid
one; what is drawn is drawn from dice of the caller.
"""

from collections.abc import Iterator
from random import Random

# Whatever begins something in msgpack, the last and first of each kind, and the ends of a byte.
BYTES = bytes.fromhex("00017f808f90919f a0bf c0c1c2c3 c4c5c6c7c9 cacb cccdcecf d0d1d2d3 d4d9dadb")
BYTES += bytes.fromhex("dcdddedf e0ff")
HUGE = [bytes([head]) + b"\xff" * 4 for head in (0xC6, 0xC9, 0xCE, 0xD2, 0xDB, 0xDD, 0xDF)]
"""What claims 2^32-1 bytes or elements, or is that number."""
HUGE += [bytes([head]) + b"\xff" * 8 for head in (0xCB, 0xCF, 0xD3)]
HUGE += [b"\xd3\x80" + bytes(7), b"\xc5\xff\xff", b"\xda\xff\xff", b"\xdc\xff\xff"]
NESTED = [b"\x91" * 17, b"\x91" * 1_000, b"\x81" * 18, b"\xdd\x00\x00\x00\x01" * 17]
WIDER = [b"\xcc", b"\xcd\0", b"\xce" + bytes(3), b"\xcf" + bytes(7), b"\xd9", b"\xda\0", b"\xdc\0"]
"""What makes a number of one byte, or a length, take more of them."""
BEHIND = [b"\x00", b"\xc1", b"\xff" * 9, bytes(1_300)]


def spoiled(valid: bytes, begin: int = 0) -> Iterator[bytes]:
    """Yield a message cut, changed, stretched and filled at each byte from `begin` on."""
    found = {valid}
    for one in _all(valid, begin):
        if one not in found:
            found.add(one)
            yield one


def _all(valid: bytes, begin: int) -> Iterator[bytes]:
    for at in range(begin, len(valid)):
        before, byte, behind = valid[:at], valid[at], valid[at + 1 :]
        yield before
        yield before + behind
        yield before + bytes([byte]) + valid[at:]
        for wider in WIDER:
            yield before + wider + valid[at:]
        for bit in range(8):
            yield before + bytes([byte ^ 1 << bit]) + behind
        for other in BYTES:
            yield before + bytes([other]) + behind
        for more in (*HUGE, *NESTED):
            yield before + more
            yield before + more + behind
    for more in BEHIND:
        yield valid + more


def spoiled_at_random(valid: bytes, dice: Random, begin: int = 0) -> bytes:
    """Return a message with one to four things done to it anywhere."""
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(min(begin, len(valid)), len(valid))
        more = dice.choice([b"", dice.randbytes(dice.randint(1, 9)), bytes([dice.choice(BYTES)])])
        more = dice.choice([more, more, dice.choice(HUGE)])
        valid = (
            valid[:at] + more + valid[at + dice.choice([0, 1, len(more), dice.randint(0, 20)]) :]
        )
    return valid
