"""What a source holds and does not take for a clip: counted by reason, and told."""

from collections import Counter

from syncflow.printable import printable

MOST_DETAILS = 6  # of a reason, in one line


class PassedOver:
    """Files, folders and videos that become no clip; whatever becomes one is counted in the ledger."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._first: dict[str, str] = {}

    def add(self, reason: str, name: str, *, detail: str = "") -> None:
        """Count `name`.

        Args:
            reason: why, as a line tells it after "passed over: ".
            detail: a finer kind within the reason, as a suffix.
        """
        self._counts.setdefault(reason, Counter())[detail] += 1
        self._first.setdefault(reason, name)

    def __len__(self) -> int:
        return sum(counts.total() for counts in self._counts.values())

    def notes(self) -> list[str]:
        """A line for each reason, with its number and the first name."""
        return [
            f"{counts.total()} passed over: {reason}{_details(counts)}, first {printable(first)}"
            for (reason, counts), first in zip(self._counts.items(), self._first.values(), strict=True)
        ]


def _details(counts: Counter[str]) -> str:
    told = [f"{detail} {count}" for detail, count in counts.most_common(MOST_DETAILS) if detail]
    more = ", ..." if len(counts) > MOST_DETAILS else ""
    return f" ({', '.join(told)}{more})" if told else ""
