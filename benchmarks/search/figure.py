"""The regret curves as an SVG, drawn by hand: a plotting library for one picture would be one more thing to install."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

Band = tuple[NDArray[np.float64], ...]  # mean, low, high on the grid
# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = (
    "#000000",
    "#d55e00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#888",
    "#8b6d00",
    "#7f3fbf",
)
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300, 230, 48, 30, 26


class _Panel:
    """One set of axes: cost as a share of the budget, regret on a logarithmic scale."""

    def __init__(self, left: float, low: float, high: float) -> None:
        self._left, self._low, self._high = left, log10(low), log10(high)

    def x(self, share: float) -> float:
        return self._left + _WIDTH * share

    def y(self, regret: float) -> float:
        place = (log10(max(regret, 1e-9)) - self._low) / (self._high - self._low)
        return _TOP + _HEIGHT * (1 - min(max(place, 0), 1))

    def frame(self, title: str) -> list[str]:
        lines = [
            f'<rect x="{self._left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#888"/>',
            f'<text x="{self.x(0.5)}" y="{_TOP - 10}" text-anchor="middle">{title}</text>',
        ]
        for share in (0, 0.25, 0.5, 0.75, 1):
            lines.append(f'<text x="{self.x(share)}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{share:.0%}</text>')
        for exponent in range(floor(self._low), ceil(self._high) + 1):
            for digit in (1, 2, 5):
                value = digit * 10.0**exponent
                if self._low <= log10(value) <= self._high:
                    y = self.y(value)
                    lines.append(f'<path d="M{self._left} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
                    lines.append(f'<text x="{self._left - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        return lines

    def curve(self, band: Band, colour: str) -> list[str]:
        mean_G, low_G, high_G = band
        xs = [self.x((index + 1) / len(mean_G)) for index in range(len(mean_G))]

        def points(values_G: NDArray[np.float64]) -> list[str]:
            return [f"{x:.1f},{self.y(value):.1f}" for x, value in zip(xs, values_G, strict=True)]

        area = " ".join([*points(low_G), *reversed(points(high_G))])
        return [
            f'<polygon points="{area}" fill="{colour}" opacity=".12"/>',
            f'<polyline points="{" ".join(points(mean_G))}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
        ]


def regret_svg(curves: Mapping[int, Mapping[str, Band]], title: str) -> str:
    """A panel for each number of workers, a line with its 95 % band for each method."""
    methods: Sequence[str] = list(dict.fromkeys(method for panel in curves.values() for method in panel))
    colours = {method: _COLOURS[index % len(_COLOURS)] for index, method in enumerate(methods)}
    shown = np.concatenate([band[0][len(band[0]) // 20 :] for panel in curves.values() for band in panel.values()])
    low, high = max(float(shown.min()) / 1.3, 1e-6), float(shown.max()) * 1.1
    body: list[str] = []
    for index, (workers, panel_curves) in enumerate(curves.items()):
        panel = _Panel(_LEFT + index * (_WIDTH + _LEFT + _GAP), low, high)
        body += panel.frame(f"{workers} worker{'s' if workers > 1 else ''}")
        for method, band in panel_curves.items():
            body += panel.curve(band, colours[method])
    bottom = _TOP + _HEIGHT + 44
    for index, method in enumerate(methods):
        x, y = _LEFT + (index % 4) * 250, bottom + (index // 4) * 20
        body.append(f'<path d="M{x} {y}h24" stroke="{colours[method]}" stroke-width="3"/>')
        body.append(f'<text x="{x + 30}" y="{y + 4}">{method}</text>')
    width = max(_LEFT + len(curves) * (_WIDTH + _LEFT + _GAP), 1060)
    height = bottom + 20 * ceil(len(methods) / 4)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><title>{title}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
    )
