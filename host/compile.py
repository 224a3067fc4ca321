"""A quantised network as one program: constants packed, zero points folded, everything at its address."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..arch.commands import Command, Execute, pack
from ..arch.config import Config
from ..arch.footprint import accumulator_count, tile_count
from ..arch.plan_conv import ConvLayer, fold_zero_point, plan_network
from ..arch.plan_operands import Rounding
from .network import Network, NetworkError

__all__ = ["CONSTANTS", "INPUT", "OUTPUT", "SCRATCH", "Compiled", "Constants", "compile_network", "finish"]

# Base registers: the program is always behind register 0.
PROGRAM, CONSTANTS, INPUT, OUTPUT, SCRATCH = range(5)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Compiled:
    """What a device needs for one input tensor: words, constants, and where everything lies.

    ``bases``, ``sizes`` : address and bytes of program, constants, input, output and scratch memory, by base register
    ``input_shape``, ``output_shape`` : of int8 tensors, row-major
    ``macs`` : useful multiplications
    """

    config: Config
    commands: list[Command]
    constants: np.ndarray
    bases: tuple[int, ...]
    sizes: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int

    @property
    def words(self) -> np.ndarray:
        """The program, uint32."""
        return pack(self.commands)

    @property
    def memory_bytes(self) -> int:
        """Device memory from address 0 on that all of it takes."""
        return max(map(sum, zip(self.bases, self.sizes, strict=True)))

    @property
    def macs_issued(self) -> int:
        """Multiplications by the whole array in every row streamed, padding included."""
        rows = sum(tile_count(c) * accumulator_count(c) for c in self.commands if isinstance(c, Execute))
        return rows * self.config.macs_per_cycle

    def write(self, put: Callable[[int, np.ndarray], None], x: np.ndarray) -> None:
        """Hand constants and input to ``put(address, data)``; raises :class:`NetworkError` for input of another shape."""
        if x.dtype != np.int8 or x.shape != self.input_shape:
            raise NetworkError(f"input must be int8 of shape {self.input_shape}, not {x.dtype} {x.shape}")
        put(self.bases[CONSTANTS], self.constants)
        put(self.bases[INPUT], np.ascontiguousarray(x))

    def read(self, get: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """The output that ``get(address, bytes)``, uint8, finds."""
        return get(self.bases[OUTPUT], self.sizes[OUTPUT]).view(np.int8).reshape(self.output_shape)


class Constants:
    """Weights and parameters, one after the other, each from a bus word's start on."""

    def __init__(self, config: Config) -> None:
        self._alignment = config.bus_bytes
        self._blocks: list[np.ndarray] = []
        self._size = 0

    def weights(self, weights: np.ndarray) -> int:
        """Offset of int8 weights, in C order."""
        return self._place(np.ascontiguousarray(weights).reshape(-1).view(np.uint8))

    def parameters(self, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> int:
        """Offset of the epilogue's parameters: 12 bytes per channel."""
        return self._place(np.stack([bias, multiplier, shift], axis=-1).astype("<i4").view(np.uint8).ravel())

    def _place(self, block: np.ndarray) -> int:
        offset, padding = self._size, -block.size % self._alignment
        self._blocks.append(np.pad(block, (0, padding)))
        self._size += block.size + padding
        return offset

    @property
    def block(self) -> np.ndarray:
        """All of them, uint8."""
        return np.concatenate(self._blocks)


def finish(config: Config, commands: list[Command], constants: np.ndarray, *, input_shape: tuple[int, ...],
           output_shape: tuple[int, ...], macs: int, scratch_bytes: int = 0) -> Compiled:
    """Give everything its address."""
    sizes = (4 * sum(command.words for command in commands), constants.size, int(np.prod(input_shape)), int(np.prod(output_shape)),
             scratch_bytes)
    bases, address = [], 0
    for size in sizes:
        bases.append(address)
        address += -(-size // config.bus_bytes) * config.bus_bytes
    return Compiled(config=config, commands=commands, constants=constants, bases=tuple(bases), sizes=sizes, input_shape=input_shape,
                    output_shape=output_shape, macs=macs)


def compile_network(network: Network, config: Config, images: int) -> Compiled:
    """The program for ``images`` inputs at once.

    Raises
    ------
    PlanError
        A layer does not fit the accelerator.
    """
    constants, layers = Constants(config), []
    for layer, shape, kernel in zip(network.layers, network.shapes, network.kernels, strict=True):
        weights = constants.weights(kernel)
        parameters = constants.parameters(fold_zero_point(layer.bias, kernel, layer.zero_in), layer.multiplier, layer.shift)
        rounding = Rounding(base=CONSTANTS, parameters=parameters, zero_point=layer.zero_out, low=layer.low, high=layer.high)
        layers.append(ConvLayer(shape=shape, base=CONSTANTS, weights=weights, rounding=rounding, pad=layer.zero_in))
    plan = plan_network(config, layers, images, input_base=INPUT, output_base=OUTPUT, scratch_base=SCRATCH)
    last = network.shapes[-1]
    return finish(config, plan.commands, constants.block, input_shape=(images, *network.input_shape),
                  output_shape=(images, *last.output_size, last.filters), macs=images * network.macs, scratch_bytes=plan.scratch_bytes)
