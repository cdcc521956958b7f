"""The hash that names and rings are made with: BLAKE2b, RFC 7693.

The rule: the very function of `hashlib`, taken from where `hashlib` takes it, since importing
`hashlib` itself loads all of OpenSSL, which takes longer than to count.
"""

try:
    from _blake2 import blake2b as blake2b
except ImportError:  # an interpreter that keeps it elsewhere
    from hashlib import blake2b as blake2b
