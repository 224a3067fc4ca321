"""A quantised network as one program: constants packed, zero points folded, every tensor at its address."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..arch.commands import Command, Execute, pack
from ..arch.config import Config
from ..arch.footprint import accumulator_count, tile_count
from ..arch.plan_conv import ConvLayer, fold_zero_point, plan_network
from ..arch.plan_layer import Rounding
from .network import Network

__all__ = ["CompiledNetwork", "Placement", "compile_network", "parameter_block"]

_PROGRAM, _CONSTANTS, _INPUT, _OUTPUT, _SCRATCH = range(5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """A block of device memory, behind a base register of its own."""

    address: int
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CompiledNetwork:
    """What a device needs to run ``images`` inputs of ``network``: words, constants, and where everything lies.

    ``placements`` : program, constants, input, output, scratch, in the order of their base registers
    """

    network: Network
    config: Config
    images: int
    commands: list[Command]
    constants: np.ndarray
    placements: tuple[Placement, ...]

    @property
    def words(self) -> np.ndarray:
        """The program, uint32."""
        return pack(self.commands)

    @property
    def bases(self) -> list[int]:
        return [p.address for p in self.placements]

    @property
    def sizes(self) -> list[int]:
        return [p.size for p in self.placements]

    @property
    def memory_bytes(self) -> int:
        """Device memory from address 0 on that all of it takes."""
        return max(p.address + p.size for p in self.placements)

    @property
    def constants_at(self) -> Placement:
        return self.placements[_CONSTANTS]

    @property
    def input_at(self) -> Placement:
        return self.placements[_INPUT]

    @property
    def output_at(self) -> Placement:
        return self.placements[_OUTPUT]

    @property
    def macs(self) -> int:
        """Useful multiplications."""
        return self.images * self.network.macs

    @property
    def macs_issued(self) -> int:
        """Multiplications of the whole array for every row streamed."""
        rows = sum(tile_count(c) * accumulator_count(c) for c in self.commands if isinstance(c, Execute))
        return rows * self.config.macs_per_cycle

    def output_of(self, data: np.ndarray) -> np.ndarray:
        """The bytes of the output block as int8 (images, rows, columns, channels)."""
        last = self.network.shapes[-1]
        return data.view(np.int8).reshape(self.images, *last.output_size, last.filters)


def parameter_block(bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Epilogue parameters as memory holds them: uint8, 12 bytes per channel."""
    return np.stack([bias, multiplier, shift], axis=-1).astype("<i4").view(np.uint8).ravel()


def compile_network(network: Network, config: Config, images: int) -> CompiledNetwork:
    """The program for ``images`` inputs at once.

    Raises
    ------
    PlanError
        A layer does not fit the accelerator.
    """
    blocks: list[np.ndarray] = []
    size = 0

    def place(block: np.ndarray) -> int:
        nonlocal size
        offset, padding = size, -block.size % config.bus_bytes
        blocks.append(np.pad(block, (0, padding)))
        size += block.size + padding
        return offset

    layers = []
    for layer, shape, kernel in zip(network.layers, network.shapes, network.kernels, strict=True):
        bias = fold_zero_point(layer.bias, kernel, layer.zero_in)
        weights = place(kernel.ravel().view(np.uint8))
        parameters = place(parameter_block(bias, layer.multiplier, layer.shift))
        rounding = Rounding(base=_CONSTANTS, parameters=parameters, zero_point=layer.zero_out, low=layer.low, high=layer.high)
        layers.append(ConvLayer(shape=shape, base=_CONSTANTS, weights=weights, rounding=rounding, pad=layer.zero_in))
    plan = plan_network(config, layers, images, input_base=_INPUT, output_base=_OUTPUT, scratch_base=_SCRATCH)
    last = network.shapes[-1]
    sizes = [4 * pack(plan.commands).size, size, images * int(np.prod(network.input_shape)), images * last.output_pixels * last.filters,
             plan.scratch_bytes]
    placements, address = [], 0
    for block_size in sizes:
        placements.append(Placement(address=address, size=block_size))
        address += -(-block_size // config.bus_bytes) * config.bus_bytes
    return CompiledNetwork(network=network, config=config, images=images, commands=plan.commands, constants=np.concatenate(blocks),
                           placements=tuple(placements))
