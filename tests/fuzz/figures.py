"""The figures of a run: how many mutants, how many were accepted, and which errors, most frequent first."""

from __future__ import annotations

from collections import Counter

from .worker import ACCEPTED, FAILED, REFUSED, Verdict

KINDS = 20_000  # that are told apart
SHOWN = 40


class Figures:
    """Counts of verdicts and of kinds of errors."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.failures: dict[str, list[str]] = {}  # by kind: where reproducers are
        self.slowest = (0.0, -1)  # seconds and number
        self.largest = (0.0, -1)  # megabytes and number

    def add(self, found: Verdict) -> None:
        """Count one mutant."""
        self.verdicts[found.verdict] += 1
        if found.verdict != ACCEPTED:
            kind = found.kind or "refused without an error"
            self.kinds[kind if kind in self.kinds or len(self.kinds) < KINDS else "other kinds"] += 1
        self.slowest = max(self.slowest, (found.seconds, found.number))
        self.largest = max(self.largest, (found.megabytes, found.number))

    @property
    def total(self) -> int:
        """Mutants counted."""
        return sum(self.verdicts.values())

    def as_dict(self) -> dict[str, object]:
        """Mutants by verdict."""
        return {"mutants": self.total, **{verdict: self.verdicts[verdict] for verdict in (ACCEPTED, FAILED)}}

    def report(self, name: str, seed: int, seconds: float) -> str:
        """All of it as text."""
        n = self.total
        share = {verdict: f"{self.verdicts[verdict]:,} ({100 * self.verdicts[verdict] / max(1, n):.1f} %)"
                 for verdict in (ACCEPTED, REFUSED, FAILED)}  # fmt: skip
        lines = [
            f"{name}: seed {seed}, {n:,} mutants in {seconds:.1f} s ({n / max(seconds, 1e-9):,.0f}/s)",
            f"  accepted {share[ACCEPTED]}, refused {share[REFUSED]}, failed {share[FAILED]}",
            f"  slowest {self.slowest[0]:.2f} s (mutant {self.slowest[1]}), "
            f"largest process {self.largest[0]:.0f} MB (mutant {self.largest[1]})",
            f"  kinds of errors: {len(self.kinds)}",
            *(f"  {count:9,}  {kind}" for kind, count in self.kinds.most_common(SHOWN)),
        ]
        if len(self.kinds) > SHOWN:
            rest = sum(count for _, count in self.kinds.most_common()[SHOWN:])
            lines.append(f"  {rest:9,}  of {len(self.kinds) - SHOWN} further kinds")
        for kind, places in self.failures.items():
            lines += [f"FAILED: {kind} ({self.kinds[kind]:,} times)", *(f"  {place}" for place in places)]
        return "\n".join(lines)
