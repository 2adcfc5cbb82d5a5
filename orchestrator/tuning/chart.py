"""Small charts as SVG: points in a plane, and ratios with their intervals. No library, so that everybody can draw."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 44, 52
ROW = 26
FOREST_LEFT = 440
COLOURS = ("#1f5fa8", "#c4500f", "#2b7a3f", "#7a3f8f", "#8a6d00", "#5a5a5a")
FEW_TICKS = 6
FAR = 3.0

_Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Point:
    """label: written beside it. marked: drawn filled and large."""

    x: float
    y: float
    label: str = ""
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """joined: a line goes through its points in the order given."""

    name: str
    points: tuple[Point, ...]
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Scatter:
    """limit: a value of y that is drawn as a dashed line, with its name."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    limit: tuple[float, str] | None = None

    def svg(self) -> str:
        points = [point for each in self.series for point in each.points]
        across = _ticks([0.0, *(point.x for point in points)])
        limit = self._limit_in_sight()
        up = _ticks([0.0, *(point.y for point in points), *([limit[0]] if limit else [])])
        at = _Frame(across, up)
        parts = [_text(LEFT, 18, self.title, bold=True), *at.axes(self.x_label, self.y_label)]
        if limit is not None:
            parts += at.limit(*limit)
        for number, each in enumerate(self.series):
            parts += at.series(each, COLOURS[number % len(COLOURS)])
            parts += _legend(number, each.name, COLOURS[number % len(COLOURS)])
        return _document(HEIGHT, parts)

    def _limit_in_sight(self) -> tuple[float, str] | None:
        """A limit far above every point would press them all to the ground."""
        highest = max((point.y for each in self.series for point in each.points), default=0.0)
        return self.limit if self.limit and self.limit[0] <= FAR * highest else None


@dataclass(frozen=True, slots=True)
class Ratio:
    """low and high are NaN where there is no interval."""

    what: str
    mean: float
    low: float
    high: float
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Forest:
    """Ratios below each other, each with its interval and its bar."""

    title: str
    ratios: tuple[Ratio, ...]

    def svg(self) -> str:
        height = TOP + ROW * len(self.ratios) + BOTTOM
        values = [v for r in self.ratios for v in (r.mean, r.low, r.high, r.bar) if _known(v)]
        ticks = _ticks([1.0, *(float(value) for value in values if value is not None)])
        scale = (WIDTH - RIGHT - FOREST_LEFT) / (ticks[-1] - ticks[0])

        def x(value: float) -> float:
            return FOREST_LEFT + (value - ticks[0]) * scale

        parts = [_text(12, 18, self.title, bold=True)]
        for tick in ticks:
            parts.append(_line(x(tick), TOP - 8, x(tick), height - BOTTOM, "#ddd"))
            parts.append(_text(x(tick), height - BOTTOM + 18, f"{tick:g}", anchor="middle"))
        parts.append(_line(x(1.0), TOP - 8, x(1.0), height - BOTTOM, "#777"))
        for number, ratio in enumerate(self.ratios):
            parts += _forest_row(ratio, TOP + ROW * number + ROW / 2, x)
        words = "ratio; bar: 95 % interval; dashed: what is asked of its lower end"
        return _document(height, [*parts, _text(12, height - 12, words)])


class _Frame:
    """Where a value lies on the picture."""

    def __init__(self, across: Sequence[float], up: Sequence[float]) -> None:
        self._across, self._up = across, up

    def x(self, value: float) -> float:
        first, last = self._across[0], self._across[-1]
        return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        first, last = self._up[0], self._up[-1]
        return HEIGHT - BOTTOM - (value - first) / (last - first) * (HEIGHT - TOP - BOTTOM)

    def axes(self, x_label: str, y_label: str) -> list[str]:
        foot = HEIGHT - BOTTOM
        parts = [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, anchor="middle")]
        parts.append(_text(LEFT - 58, TOP - 8, y_label))
        for tick in self._across:
            parts.append(_line(self.x(tick), TOP, self.x(tick), foot, "#eee"))
            parts.append(_text(self.x(tick), foot + 18, f"{tick:g}", anchor="middle"))
        for tick in self._up:
            parts.append(_line(LEFT, self.y(tick), WIDTH - RIGHT, self.y(tick), "#eee"))
            parts.append(_text(LEFT - 8, self.y(tick) + 4, f"{tick:g}", anchor="end"))
        return parts

    def limit(self, value: float, name: str) -> list[str]:
        y = self.y(value)
        return [
            _line(LEFT, y, WIDTH - RIGHT, y, "#b00", dashed=True),
            _text(WIDTH - RIGHT - 4, y - 5, name, anchor="end"),
        ]

    def series(self, series: Series, colour: str) -> list[str]:
        parts = []
        if series.joined:
            path = " ".join(f"{self.x(p.x):.1f},{self.y(p.y):.1f}" for p in series.points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        for point in series.points:
            x, y = self.x(point.x), self.y(point.y)
            fill, size = (colour, 5) if point.marked else ("#fff", 3.5)
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{fill}" stroke="{colour}"/>'
            )
            if point.label:
                parts.append(_text(x + 7, y - 6, point.label))
        return parts


def _forest_row(ratio: Ratio, y: float, x: _Scale) -> list[str]:
    met = ratio.bar is None or not _known(ratio.low) or ratio.low >= ratio.bar
    colour = COLOURS[0] if met else COLOURS[1]
    parts = [_text(12, y + 4, ratio.what)]
    if ratio.bar is not None:
        parts.append(_line(x(ratio.bar), y - 9, x(ratio.bar), y + 9, "#333", dashed=True))
    if _known(ratio.low) and _known(ratio.high):
        parts.append(_line(x(ratio.low), y, x(ratio.high), y, colour, width=3))
    parts.append(f'<circle cx="{x(ratio.mean):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')
    return parts


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, evenly apart, from below the least to above the greatest."""
    low, high = min(values), max(values)
    if high <= low:
        high = low + 1.0
    rough = (high - low) / FEW_TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _legend(number: int, name: str, colour: str) -> list[str]:
    x, y = LEFT + 12, TOP + 14 + 18 * number
    return [f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{colour}"/>', _text(x + 10, y, name)]


def _line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str,
    *,
    width: float = 1,
    dashed: bool = False,
) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"{dashes}/>'
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def _document(height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        'font-family="sans-serif" font-size="12">'
    )
    ground = f'<rect width="{WIDTH}" height="{height:g}" fill="#fff"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])
