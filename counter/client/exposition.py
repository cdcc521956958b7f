"""What a cluster looks like to Prometheus: samples with labels, as lines of its text format. Pure.

The rule: a total stands here only while it is exact. A part of it, where the whole stood a moment
ago, would look like a counter that began anew, and the next whole like growth that never was.
"""

from collections.abc import Iterable
from typing import Final

from counter.client.totals import MemberState, Total

PREFIX: Final = "gossip_counter_"
NAMED_MAX: Final = 1_024
"""Members with samples of their own; of more, those that are not alive come first."""

STATUSES: Final = ("alive", "suspect", "dead", "away")

HELP: Final = {
    "up": "1 if somebody said who belongs to the cluster.",
    "members": "Members that are expected to answer, by status.",
    "member_alive": "1 for a member that is alive, 0 for one that is expected and is not.",
    "member_operations": "Operations of a member in its last 30 s.",
    "value": "The exact total of a key; missing while it is not known.",
    "seen": "The sum of a key over the members that answered.",
    "complete": "1 if everybody who is expected answered this question.",
    "answered": "Members that answered this question.",
    "expected": "Members that were expected to.",
    "uncertain": "Increments in doubt that may still count, of what was asked for.",
    "query_seconds": "How long this question took.",
}


class Page:
    """The samples of one look at a cluster; each set of labels stands there once."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[str, float]] = {name: {} for name in HELP}

    def put(self, metric: str, value: float, /, **labels: str) -> None:
        """Add a sample, unless there is one with these labels."""
        shown = ",".join([f'{label}="{_escaped(text)}"' for label, text in labels.items()])
        self._samples[metric].setdefault(f"{{{shown}}}" if shown else "", value)

    def put_members(self, members: Iterable[MemberState]) -> None:
        """Add what is known of the members."""
        expected = [member for member in members if member.status in STATUSES]
        for status in STATUSES:
            self.put("members", sum(m.status == status for m in expected), status=status)
        expected.sort(key=lambda member: member.status == "alive")
        for member in expected[:NAMED_MAX]:
            self.put("member_alive", int(member.status == "alive"), name=member.name)
            if member.activity is not None:
                self.put("member_operations", member.activity, name=member.name)

    def put_total(self, question: str, total: Total) -> None:
        """Add the answer to one question."""
        rows = [(row.key, row.value, row.exact) for row in total.keys]
        if not question.endswith("*"):
            rows = [(question, total.value, True)]
        for key, value, is_exact in rows:
            self.put("seen", value, key=key)
            if total.complete and is_exact:
                self.put("value", value, key=key)
        self.put("complete", int(total.complete), query=question)
        self.put("answered", total.answered, query=question)
        self.put("expected", total.members, query=question)
        self.put("uncertain", total.uncertain, query=question)
        self.put("query_seconds", round(total.elapsed_ms / 1000, 6), query=question)

    @property
    def is_complete(self) -> bool:
        """Whether every question was answered by everybody who is expected."""
        return all(self._samples["complete"].values())

    @property
    def text(self) -> str:
        """All of it, in the order of HELP."""
        lines = []
        for name, samples in self._samples.items():
            if samples:
                metric = PREFIX + name
                lines += [f"# HELP {metric} {HELP[name]}", f"# TYPE {metric} gauge"]
                lines += [f"{metric}{labels} {value}" for labels, value in samples.items()]
        return "".join([line + "\n" for line in lines])


def _escaped(text: str) -> str:
    """Return a label's value as the format wants it; a key or a name holds no line break."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
