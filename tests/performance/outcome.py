"""What a section of the benchmarks found: figures with their spread, held against the bars of the design."""

from dataclasses import dataclass, field

from orchestrator.tuning.chart import Forest, Scatter


class Lacking(Exception):
    """The machine lacks what a section, or a part of it, needs; the message says what, and the mend."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the results.

    spread  of what was measured, in words: an interval, a range, a number of samples
    bar     what the design asks for; empty where it asks for nothing
    held    whether the figure holds the bar; None where there is none
    """

    what: str
    value: float
    unit: str
    spread: str = ""
    bar: str = ""
    held: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.held is None else "holds" if self.held else "**MISSES**"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A table beside the figures: what a whole is made of."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """notes: what was measured and how, what else ran, what was left out and why. charts: by file name."""

    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    breakdowns: tuple[Breakdown, ...] = field(default=())
    charts: dict[str, Forest | Scatter] = field(default_factory=dict)


def below(what: str, value: float, unit: str, bar: float, spread: str = "") -> Figure:
    return Figure(what, value, unit, spread, f"below {bar:g} {unit}".rstrip(), value < bar)


def at_least(what: str, value: float, unit: str, bar: float, spread: str = "") -> Figure:
    return Figure(what, value, unit, spread, f"at least {bar:g} {unit}".rstrip(), value >= bar)


def figure_text(value: float) -> str:
    """Three significant digits, and no more than three after the point."""
    if value == 0 or not abs(value) < 1e9:
        return f"{value:g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
