"""The sum of a tile in passes: pieces that EXECUTE can do one by one, with another tile's in between.

While STORE empties one half of the accumulator, the array needs work in the other. A tile that takes long is such work, and where
it comes in passes, short tiles can go through the first half meanwhile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .config import Config
from .layers import Constant, Layer, Part, Term
from .tiling import Chunk, chunks, pieces

__all__ = ["Pass", "joined", "passes"]

_ANY = 1 << 30    # rows of weights that need no loading: no limit
_TILES = 4        # weight tiles of a pass, at least


class Pass(NamedTuple):
    """Tiles ``chunk`` of ``block``, which is loaded as a whole, for a term; with ``spread`` for accumulator rows of their own."""

    term: int
    block: Chunk
    chunk: Chunk
    spread: int = 0

    @property
    def tiles(self) -> int:
        return self.chunk.ky_count * self.chunk.kx_count * self.chunk.ct_count


def passes(config: Config, layer: Layer, part: Part, ring: int) -> list[Pass]:
    """All passes of a tile, in order.

    Parameters
    ----------
    ring : rows of the weight scratchpad for weights from memory
    """
    rows, loops = config.array.rows, config.control.outer_loops
    result: list[Pass] = []
    for number, term in enumerate(part.terms):
        channels = term.channels(rows)
        if layer.spread:
            for tap in range(layer.taps):
                ky, kx = divmod(tap, layer.shape.kernel[1])
                chunk = Chunk(ky=ky, ky_count=1, kx=kx, kx_count=1, ct=0, ct_count=term.depth, k_last=term.k_last, first=0, count=channels)
                result.append(Pass(number, chunk, chunk, tap))
            continue
        uniform = isinstance(term.weights, Constant) and term.weights.uniform
        for block in _repeated(chunks(layer.shape.kernel, channels, rows, most=_ANY if uniform else ring // 2, loops=loops), term, loops):
            result += [Pass(number, block, chunk) for chunk in _pieces(block, rows, channels)]
    return result


def _repeated(blocks: Sequence[Chunk], term: Term, loops: int) -> Iterator[Chunk]:
    """Blocks of a term, each as often as its sum is taken: by the loop over kernel columns, where there is one."""
    if term.times > 1 and loops > 1:
        yield from (dataclasses.replace(block, kx_count=term.times) for block in blocks)
    else:
        yield from list(blocks) * term.times


def _pieces(block: Chunk, rows: int, channels: int) -> Iterator[Chunk]:
    if block.ky_count > 1:
        each = block.count // block.ky_count
        for i in range(block.ky_count):
            yield dataclasses.replace(block, ky=block.ky + i, ky_count=1, first=block.first + i * each, count=each)
    elif block.kx_count == 1 and block.ct_count >= 2 * _TILES:
        for start, count in pieces(block.ct_count, -(-block.ct_count // (block.ct_count // _TILES))):
            last = start + count == block.ct_count
            yield dataclasses.replace(
                block, ct=block.ct + start, ct_count=count, k_last=block.k_last if last else rows, first=block.first + start * rows,
                count=(count - 1) * rows + (block.k_last if last else rows))
    else:
        yield block


def joined(some: Sequence[Pass]) -> Iterator[Pass]:
    """The same passes, neighbours of a block as one."""
    run: list[Pass] = []
    for one in some:
        if run and not (one.term == run[-1].term and one.block is run[-1].block and one.chunk.first > run[-1].chunk.first):
            yield _join(run)
            run = []
        run.append(one)
    if run:
        yield _join(run)


def _join(run: Sequence[Pass]) -> Pass:
    first, last = run[0].chunk, run[-1].chunk
    if len(run) == 1:
        return run[0]
    return run[0]._replace(chunk=dataclasses.replace(
        first, ky_count=last.ky - first.ky + last.ky_count, ct_count=last.ct - first.ct + last.ct_count, k_last=last.k_last,
        count=last.first + last.count - first.first))
