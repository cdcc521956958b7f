"""Errors as programs hand them around: between processes too."""

import copy
import pickle

import pytest

from counter.client.operations import Operation, UncountedError, UnknownOutcomeError
from counter.client.resetting import UnknownResetError
from tracker.errors import ClusterError, ConfigError, RefusedError, UnreachableError

OPERATION = Operation("n1", ("127.0.0.1", 7401), b"s" * 16, 1, ("views", 1), 0)

ERRORS = {
    "refused": RefusedError("busy", "come back"),
    "unreachable": UnreachableError("nobody is there"),
    "settings": ConfigError("no key"),
    "unknown": UnknownOutcomeError("no answer", OPERATION),
    "uncounted": UncountedError({"views": 2}, [OPERATION], ["no answer"]),
    "unknown reset": UnknownResetError("no answer", "token"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize(
    "travelled",
    [copy.copy, *[lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in (2, 5)]],
    ids=["copied", "pickled by 2", "pickled by 5"],
)
def test_an_error_travels_between_processes_with_all_it_holds(error, travelled):
    # A pool of processes hangs for ever where an error of a worker cannot be read.
    came = travelled(error)

    assert type(came) is type(error)
    assert str(came) == str(error)
    assert vars(came) == vars(error)


def every_kind(kind=ClusterError):
    return [kind, *[k for below in kind.__subclasses__() for k in every_kind(below)]]


def test_no_kind_of_error_has_a_way_of_its_own():
    assert not [kind for kind in every_kind()[1:] if "__reduce__" in vars(kind)]
