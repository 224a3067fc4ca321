"""One matrix product on its way through a device: checked operands, parts that fit the memory, and where everything lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..arch.commands import int16_fields
from ..arch.config import Config
from ..arch.gemm_tiling import Gemm
from ..arch.numerics import ROUND_ONCE, WIDE_SHIFT_MAX
from ..arch.plan_gemm import GemmPlan, plan_gemm, split_gemm
from .constants import check_weights

__all__ = ["MatmulJob", "Part", "Requantise", "RequantiseInt16"]

Part = tuple[range, range]  # rows of A, columns of W
_ALIGNMENT = 64  # bytes: the widest bus word


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Requantise:
    """int32 to int8 as :func:`systolith.arch.numerics.requantise` defines it.

    ``multiplier`` (int32, not negative) and ``shift`` (−31 … 30) are one number or one for each column.
    """

    multiplier: npt.ArrayLike
    shift: npt.ArrayLike
    zero_point: int = 0
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        _check_numbers(self, {"multiplier": (0, (1 << 31) - 1), "shift": (-31, 30), "zero_point": (-128, 127), "low": (-128, 127),
                              "high": (-128, 127)})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RequantiseInt16:
    """Sums to int16, without a zero point: ⌊sum · ``multiplier`` · 2**(``shift`` − 31) + ½⌋, clamped; rounded once, as TFLite's kernels of
    int16 activations do.

    ``multiplier`` and ``shift`` as of :class:`Requantise`. Convolutions there take a multiplier of 15 bits
    (:func:`systolith.arch.numerics.reduce_multiplier`), fully connected layers what :func:`systolith.arch.numerics.round_once` gives,
    without its bit 31. ``low`` is a multiple of 256. Where sums have more than 32 bits, shifts are at most 7.
    """

    multiplier: npt.ArrayLike
    shift: npt.ArrayLike
    low: int = -32768
    high: int = 32767

    def __post_init__(self) -> None:
        _check_numbers(self, {"multiplier": (0, (1 << 31) - 1), "shift": (-31, 30), "low": (-32768, 32767), "high": (-32768, 32767)})
        if self.low % 256:
            raise ValueError(f"low must be a multiple of 256 for int16 results, not {self.low}")


def _check_numbers(rule: Any, limits: Mapping[str, tuple[int, int]]) -> None:
    """Raise TypeError or ValueError for an attribute that is not of whole numbers between its limits."""
    for name, (low, high) in limits.items():
        value = np.asarray(getattr(rule, name))
        if value.dtype.kind not in "iu":
            raise TypeError(f"{name} must be of whole numbers, not {value.dtype}")
        if value.size and (value.min() < low or value.max() > high):
            raise ValueError(f"{name} must be from {low} to {high}, not {value.min() if value.min() < low else value.max()}")
    if rule.low > rule.high:
        raise ValueError(f"low must be at most high, {rule.high}, not {rule.low}")


def _operand(name: str, value: Any, dtype: np.dtype[Any], dimensions: int) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")
    if value.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, not {value.dtype}")
    if value.ndim != dimensions or not value.size:
        raise ValueError(f"{name} must have {dimensions} dimension{'s' * (dimensions > 1)} and not be empty, not shape {value.shape}")
    return value


class MatmulJob:
    """C[M, N] = A[M, K] · W[K, N], in parts.

    Attributes
    ----------
    result : C, filled part by part with :meth:`store`
    bytes_rearranged : bytes that the host copied because an operand, or a part of one, was not row-major in its own memory, or W had
        to be packed
    """

    def __init__(self, config: Config, a: npt.NDArray[Any], w: npt.NDArray[np.int8], bias: npt.NDArray[np.int32] | None,
                 requantise: Requantise | RequantiseInt16 | None):
        self.config = config
        self.a, self.w = _operand("a", a, np.dtype(config.array.activations), 2), _operand("w", w, np.dtype(np.int8), 2)
        wrong = check_weights(config, w)
        if wrong:
            raise ValueError(wrong)
        self.m, self.k = a.shape
        self.n = w.shape[1]
        if w.shape[0] != self.k:
            raise ValueError(f"w must have as many rows as a has columns, {self.k}, not {w.shape[0]}")
        if bias is not None and _operand("bias", bias, np.dtype(np.int32), 1).shape != (self.n,):
            raise ValueError(f"bias must have one value for each of {self.n} columns, not {bias.size}")
        self.bias = bias
        self.requantise = requantise
        wanted = RequantiseInt16 if config.array.activations == "int16" else Requantise
        if requantise is not None and not isinstance(requantise, wanted):
            raise TypeError(f"requantise must be a {wanted.__name__} where array.activations is {config.array.activations!r}, "
                            f"not a {type(requantise).__name__}")
        self.result = np.empty((self.m, self.n), config.array.activations if requantise else np.int32)
        self.bytes_rearranged = 0
        self._plans: dict[tuple[int, int], GemmPlan] = {}
        self._written: dict[str, tuple[int, range]] = {}

    def __str__(self) -> str:
        return f"{self.m}×{self.k} · {self.k}×{self.n}"

    @property
    def _out(self) -> Literal["int32", "int8", "int16"]:
        if self.requantise is None:
            return "int32"
        return "int16" if isinstance(self.requantise, RequantiseInt16) else "int8"

    @cached_property
    def _parameters(self) -> npt.NDArray[np.int32]:
        """Bias, multiplier and shift of every column: shape (N, 3)."""
        parameters = np.zeros((self.n, 3), np.int32)
        parameters[:, 0] = 0 if self.bias is None else self.bias
        if self.requantise:
            for place, name in ((1, "multiplier"), (2, "shift")):
                value = np.asarray(getattr(self.requantise, name))
                if value.shape not in ((), (self.n,)):
                    raise ValueError(f"{name} must be one number or one for each of {self.n} columns, not shape {value.shape}")
                parameters[:, place] = value
        if isinstance(self.requantise, RequantiseInt16):
            self._check_sums(parameters[:, 0], parameters[:, 2])
            parameters[:, 1] |= ROUND_ONCE
        return parameters

    def _check_sums(self, bias: npt.NDArray[np.int32], shift: npt.NDArray[np.int32]) -> None:
        """Raise ValueError where a sum, or what a positive shift makes of it, may be more than an accumulator holds: wrapped, it is of no
        use. Wider ones than 32 bits are not shifted."""
        config, bits = self.config, self.config.array.accumulator_bits
        if bits > 32 and shift.max() > WIDE_SHIFT_MAX:
            raise ValueError(f"shift must be at most {WIDE_SHIFT_MAX} where array.accumulator_bits is {bits}, not {shift.max()}")
        largest = max(-int(self.a.min()), int(self.a.max()))
        reach = largest * np.abs(self.w.astype(np.int64)).sum(axis=0) + np.abs(bias.astype(np.int64))
        left = np.maximum(shift, 0) * (bits == 32)
        column = int(np.ldexp(reach, left).argmax())
        moved = int(reach[column]) << int(left[column])
        if moved >= 1 << bits - 1:
            may = (config.array.dataflow, config.control.engines, config.epilogue.multiplier) == ("ws", "pipelined", "parallel")
            wider = may and bits < 48 and reach[column] < 1 << 47 and shift.max() <= WIDE_SHIFT_MAX
            raise ValueError(f"sums to be requantised to int16 must be below 2**{bits - 1}, and those of column {column} may reach "
                             f"{moved}; cut K, or make weights smaller{', or set array.accumulator_bits to 48' if wider else ''}")

    def parts(self, memory_bytes: int) -> list[Part]:
        """As few parts as fit ``memory_bytes`` with their programs; the first is the largest."""
        reserved = 0
        gemm = Gemm(config=self.config, m=self.m, n=self.n, k=self.k, out=self._out, bias=self.bias is not None)
        while True:
            parts = list(split_gemm(self.m, self.n, self.k, budget_bytes=memory_bytes - reserved,
                                    result_bytes=self.result.itemsize, activation_bytes=self.a.itemsize,
                                    row_bytes=gemm.weight_bytes))
            plan, addresses = self.plan(parts[0])
            excess = addresses["c"] + plan.regions["c"].bytes - memory_bytes
            if excess <= 0:
                return parts
            reserved += excess

    def plan(self, part: Part) -> tuple[GemmPlan, dict[str, int]]:
        """The program of a part, and the addresses of its regions, C last."""
        rows, columns = part
        plan = self._plans.get((len(rows), len(columns)))
        if plan is None:
            epilogue: dict[str, Any] = {}
            if isinstance(self.requantise, RequantiseInt16):
                epilogue = int16_fields(self.requantise.low, self.requantise.high)
            elif self.requantise:
                epilogue = {name: getattr(self.requantise, name) for name in ("zero_point", "low", "high")}
            plan = plan_gemm(self.config, len(rows), len(columns), self.k, out=self._out,
                             bias=self.bias is not None, **epilogue)
            self._plans[len(rows), len(columns)] = plan
        addresses, address = {}, 0
        for name in sorted(plan.regions, key=["program", "a", "w", "parameters", "c"].index):
            addresses[name] = address
            address += -(-plan.regions[name].bytes // _ALIGNMENT) * _ALIGNMENT
        return plan, addresses

    def operands(self, part: Part, addresses: dict[str, int]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """(address, data) of what must be written for a part; operands that are there from the part before are left out."""
        rows, columns = part
        for name, array, which in (("a", self.a[rows.start:rows.stop], rows), ("w", self.w[:, columns.start:columns.stop], columns)):
            if self._written.get(name) != (addresses[name], which):
                self._written[name] = addresses[name], which
                data = self.plan(part)[0].gemm.pack(array) if name == "w" else array
                if data is not array or not array.flags.c_contiguous:
                    self.bytes_rearranged += data.nbytes
                yield addresses[name], data
        if "parameters" in addresses:
            yield addresses["parameters"], self._parameters[columns.start:columns.stop]

    def store(self, part: Part, data: npt.NDArray[np.uint8]) -> None:
        """Put the bytes of a part's C into its place."""
        rows, columns = part
        block = self.result[rows.start:rows.stop, columns.start:columns.stop]
        if not block.flags.c_contiguous:
            self.bytes_rearranged += block.nbytes
        block[...] = data.view(self.result.dtype).reshape(block.shape)
