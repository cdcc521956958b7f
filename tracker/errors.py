"""The error tree: one class for each thing a caller does differently.

The rule: every error says whether the state is certainly unchanged (`definite`) and whether
the same request may be sent again without harm (`retry_safe`).
"""

from typing import Any, ClassVar


class ClusterError(Exception):
    """Anything this project refuses, loses or cannot reach."""

    definite: ClassVar[bool] = True
    retry_safe: ClassVar[bool] = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as it is: `args` alone would not do to make it anew."""
        return _as_it_was, (type(self), self.args, self.__dict__)


class FrameError(ClusterError):
    """The bytes are not a message of this protocol; nothing was changed."""

    retry_safe: ClassVar[bool] = False


class ConfigError(ClusterError):
    """A setting, an option or an argument makes no sense; nothing was started."""

    retry_safe: ClassVar[bool] = False


class AddressError(ClusterError):
    """An address cannot be used now: not of this machine, or unknown; nothing was started.

    At the start of a machine names and addresses come after the daemons: a later start may do.
    """


class RefusedError(ClusterError):
    """The other side understood the request and said no; nothing was changed there.

    `code` is a short word a program may compare (`busy`, `name-taken`, `too-old`, …).
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class UnreachableError(ClusterError):
    """Nobody answers at that address; the request never left."""


class ConnectionLostError(ClusterError):
    """The connection ended after the request was sent: what became of it is unknown."""

    definite: ClassVar[bool] = False


class InDoubtError(ClusterError):
    """The other side took the request and cannot tell what became of it (a failed fsync)."""

    definite: ClassVar[bool] = False


class DeadlineError(ClusterError):
    """The time given for the request is over; what became of it is unknown."""

    definite: ClassVar[bool] = False


class StorageError(ClusterError):
    """The data directory cannot be used, or refuses a write; nothing was acknowledged."""


class DamagedError(StorageError):
    """A file in the data directory was changed by somebody else; names file and offset."""

    retry_safe: ClassVar[bool] = False


class LockedError(StorageError):
    """Another process works on this data directory; names its pid."""


class StorageLostError(StorageError):
    """An fsync failed: what the last writes left on disk is unknown, the file is not trusted."""

    definite: ClassVar[bool] = False


def _as_it_was(kind: type[ClusterError], args: tuple[Any, ...], held: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.__dict__.update(held)
    return error
