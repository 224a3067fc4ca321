"""A picture of a run: what LOAD, EXECUTE and STORE did for which layer, measured above predicted, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from ..arch.commands import Engine
from .activity import Activity
from .session import Run

__all__ = ["timeline"]

WIDTH, LANE, LEFT, TOP = 1400, 26, 150, 34
LABEL = 22  # width that the operator's number needs
_ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)


def _colour(number: int) -> str:
    """Colours of neighbours differ: a golden angle apart."""
    return f"hsl({number * 137.508 % 360:.0f} 65% {50 + 12 * (number % 2)}%)"


def _spans(run: Run, activity: Activity, engine: Engine, owner: np.ndarray, gap: float) -> Iterator[tuple[int, int, int]]:
    """(begin, end, layer): commands of one layer that are closer than ``gap`` cycles become one."""
    held: tuple[int, int, int] | None = None
    for index, command in enumerate(run.compiled.commands):
        if command.engine is not engine:
            continue
        begin, end, layer = int(activity.begin[index]), int(activity.end[index]), int(owner[index])
        if held is not None and held[2] == layer and begin - held[1] <= gap:
            held = held[0], max(end, held[1]), layer
        else:
            if held is not None:
                yield held
            held = begin, end, layer
    if held is not None:
        yield held


def _lanes(run: Run, activity: Activity, what: str, top: int, offset: int, scale: float, numbers: dict[str, int]) -> list[str]:
    owner = np.full(len(run.compiled.commands), -1)
    for number, described in enumerate(run.compiled.layers):
        owner[list(described.commands)] = number
    parts = []
    for lane, engine in enumerate(_ENGINES):
        y = top + lane * LANE
        if not offset:
            parts.append(f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{engine.name} {what}</text>')
        boxes: dict[int, list[tuple[float, float]]] = {}
        for begin, end, layer in _spans(run, activity, engine, owner, 1 / scale):
            boxes.setdefault(layer, []).append((LEFT + (offset + begin) * scale, max((end - begin) * scale, 0.3)))
        for layer, places in boxes.items():
            info = run.compiled.layers[layer] if layer >= 0 else None
            colour = "#bbb" if info is None else _colour(numbers[info.name])
            title = "" if info is None else f"<title>{escape(f'{info.index} {info.op} {info.name}')}</title>"
            path = "".join(f"M{x:.1f} {y + 3}h{width:.1f}v{LANE - 6}h-{width:.1f}z" for x, width in places)
            parts.append(f'<path d="{path}" fill="{colour}">{title}</path>')
            x, width = max(places, key=lambda place: place[1])
            if info is not None and engine is Engine.EXECUTE and width > LABEL:
                parts.append(f'<text x="{x + width / 2:.1f}" y="{y + 17}" text-anchor="middle" fill="white">{info.index}</text>')
    return parts


def timeline(runs: Sequence[Run]) -> str:
    """The runs side by side; what was not measured is left out."""
    seen = all(run.measured is not None for run in runs)
    lengths = [max(run.predicted.cycles, run.measured.cycles if run.measured is not None else 0) for run in runs]
    total = max(sum(lengths), 1)
    scale = (WIDTH - LEFT - 20) / total
    names = list(dict.fromkeys(layer.name for run in runs for layer in run.compiled.layers))
    numbers = {name: number for number, name in enumerate(names)}
    parts, offset = [], 0
    for run, length in zip(runs, lengths, strict=True):
        top = TOP
        for what, activity in (("measured", run.measured if seen else None), ("predicted", run.predicted)):
            if activity is not None:
                parts += _lanes(run, activity, what, top, offset, scale, numbers)
                top += 3 * LANE + 14
        offset += length
    bottom = TOP + (2 if seen else 1) * (3 * LANE + 14)
    step = 10 ** int(np.log10(total))
    step = step // 5 if total < 2 * step else step // 2 if total < 5 * step else step
    for cycle in range(0, total + 1, max(step, 1)):
        x = LEFT + cycle * scale
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom - 10}" stroke="#0002"/>'
                     f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{cycle:,}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n')
