"""Numbers that are not known yet: between which bounds they will lie, and what is expected of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Amount:
    """A count or a size. `expected` is None where nothing has been measured that would tell."""

    low: float
    high: float
    expected: float | None

    def __add__(self, other: "Amount") -> "Amount":
        unknown = self.expected is None or other.expected is None
        expected = None if unknown else (self.expected or 0) + (other.expected or 0)
        return Amount(self.low + other.low, self.high + other.high, expected)

    def times(self, factor: float) -> "Amount":
        expected = None if self.expected is None else factor * self.expected
        return Amount(factor * self.low, factor * self.high, expected)

    def down_to(self, lowest: "Amount") -> "Amount":
        """The same with the lower bound of another."""
        return Amount(lowest.low, self.high, self.expected)

    def holds(self, number: float) -> bool:
        """Whether a number lies within the bounds."""
        return self.low <= number <= self.high


def exactly(number: float) -> Amount:
    return Amount(number, number, number)


def expected_of(amount: Amount | None) -> float | None:
    """What is expected, where there is anything to expect."""
    return None if amount is None else amount.expected


NOTHING = exactly(0)


@dataclass(frozen=True, slots=True)
class Need:
    """What one stage takes, or all of a run."""

    responses: Amount = NOTHING
    """Sampled (generate, evaluate), judged (score), kept (select), learned (train, every epoch counts)."""
    response_tokens: Amount = NOTHING
    """Sampled (generate, evaluate), or learned (train)."""
    train_steps: Amount = NOTHING
    part_bytes: Amount = NOTHING
    """Of Parquet files; checkpoints are planned for the whole run."""
    seconds: Amount | None = NOTHING
    """At the measured rates; None where there is none."""

    def __add__(self, other: "Need") -> "Need":
        known = self.seconds is not None and other.seconds is not None
        return Need(
            self.responses + other.responses,
            self.response_tokens + other.response_tokens,
            self.train_steps + other.train_steps,
            self.part_bytes + other.part_bytes,
            (self.seconds or NOTHING) + (other.seconds or NOTHING) if known else None,
        )

    def down_to(self, lowest: "Need") -> "Need":
        """The same with the lower bounds of another."""
        seconds = self.seconds and lowest.seconds and self.seconds.down_to(lowest.seconds)
        return Need(
            self.responses.down_to(lowest.responses),
            self.response_tokens.down_to(lowest.response_tokens),
            self.train_steps.down_to(lowest.train_steps),
            self.part_bytes.down_to(lowest.part_bytes),
            seconds,
        )
