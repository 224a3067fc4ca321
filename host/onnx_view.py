"""How an ONNX tensor lies in memory: reshapes and transpositions as bookkeeping, so that they cost nothing.

The networks inside are NHWC, ONNX's are NCHW. A :class:`View` says for each of the ONNX tensor's axes where its elements are in the
tensor that is really there: a list of (size, stride) pairs, outermost first, strides in elements. Flatten, Reshape, Transpose, Squeeze
and Unsqueeze make another view of the same bytes, and whoever needs a certain order asks whether it is there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

__all__ = ["View"]

Part = tuple[int, int]  # size, stride
Axis = tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class View:
    """``axes`` : of the ONNX tensor, each the parts that its index is made of (none for an axis of size 1), merged where they can be.

    The offset of an element is the sum over all parts of index · stride, and the offsets of all elements are 0 … size − 1.
    """

    axes: tuple[Axis, ...]

    @staticmethod
    def of(shape: Sequence[int], order: Sequence[int] | None = None) -> View:
        """A tensor of this (ONNX) shape that lies in memory with its axes in ``order``, outermost first; None: as they are."""
        order = range(len(shape)) if order is None else order
        strides, stride = [0] * len(shape), 1
        for axis in reversed(order):
            strides[axis] = stride
            stride *= shape[axis]
        return View(tuple(((size, s),) if size != 1 else () for size, s in zip(shape, strides, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the ONNX tensor."""
        return tuple(math.prod(size for size, _ in axis) for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def transpose(self, permutation: Sequence[int]) -> View:
        return View(tuple(self.axes[axis] for axis in permutation))

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements under another shape of the same size; None where no list of strides can say that."""
        parts = list(_merged(part for axis in self.axes for part in axis))[::-1]
        axes: list[Axis] = []
        for size in shape:
            axis: list[Part] = []
            while size != 1:
                if not parts:
                    return None
                have, stride = parts.pop()
                if size % have == 0:
                    axis.append((have, stride))
                    size //= have
                elif have % size == 0:
                    axis.append((size, stride * (have // size)))
                    parts.append((have // size, stride))
                    size = 1
                else:
                    return None
            axes.append(tuple(axis))
        return None if parts else View(tuple(axes))

    def is_dense(self, *axes: int) -> bool:
        """Whether memory holds these axes, which are all but those of size 1, in this order, outermost first."""
        return _dense(part for axis in axes for part in self.axes[axis])

    def rows(self, inner: int) -> tuple[np.ndarray, Callable[[int], View]] | None:
        """Where each element of the last ``inner`` axes, row-major, lies within a block of memory that holds just these, and the view of a
        tensor in which such blocks are replaced by blocks of another size, as one last axis. None where there are no such blocks."""
        outer, parts = self.axes[:-inner], [part for axis in self.axes[-inner:] for part in axis]
        size = math.prod(size for size, _ in parts)
        if any(stride % size for axis in outer for _, stride in axis):
            return None

        def replaced(new: int) -> View:
            axes = tuple(tuple((s, stride // size * new) for s, stride in axis) for axis in outer)
            return View((*axes, ((new, 1),) if new != 1 else ()))

        return _offsets(parts), replaced

    @property
    def innermost(self) -> int:
        """The axis whose neighbours are neighbours in memory, not the first if there is another; the last, if none is."""
        return next((axis for axis in range(len(self.axes) - 1, 0, -1) if self.axes[axis] and self.axes[axis][-1][1] == 1),
                    len(self.axes) - 1)

    def offsets(self) -> np.ndarray:
        """Where each element of the ONNX tensor, row-major, lies."""
        return _offsets([part for axis in self.axes for part in axis])

    def permutation(self) -> tuple[int, ...] | None:
        """The order of axes, outermost first, in which memory has them; axes of size 1 stay where they are. None: they are interleaved."""
        if any(len(axis) > 1 for axis in self.axes):
            return None
        real = [axis for axis, parts in enumerate(self.axes) if parts]
        ordered = iter(sorted(real, key=lambda axis: -self.axes[axis][0][1]))
        return tuple(next(ordered) if parts else axis for axis, parts in enumerate(self.axes))

    def canonical(self) -> View:
        """Equal for equal orders in memory."""
        return View(tuple(tuple(_merged(axis)) for axis in self.axes))


def _merged(parts: Iterable[Part]) -> Iterable[Part]:
    """Neighbours that lie densely in each other as one."""
    last: Part | None = None
    for size, stride in parts:
        if last is not None and last[1] == size * stride:
            last = (last[0] * size, stride)
        else:
            if last is not None:
                yield last
            last = (size, stride)
    if last is not None:
        yield last


def _dense(parts: Iterable[Part]) -> bool:
    expected = 1
    for size, stride in reversed(list(parts)):
        if stride != expected:
            return False
        expected *= size
    return True


def _offsets(parts: Sequence[Part]) -> np.ndarray:
    offsets = np.zeros(1, np.int64)
    for size, stride in parts:
        offsets = (offsets[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    return offsets
