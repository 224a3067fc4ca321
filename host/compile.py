"""A quantised network as programs: constants packed, zero points folded, everything at its address.

A graph becomes a list of steps, programs and operators that the host computes between them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..arch.commands import Command, Execute, pack
from ..arch.config import Config
from ..arch.footprint import accumulator_count, tile_count
from ..arch.latency import Memory
from ..arch.plan_graph import plan_graph
from .errors import NetworkError
from .graph import Graph, Node
from .lower import lower
from .operators import HostOp, Reshape
from .report import LayerInfo, layer_infos

__all__ = ["CONSTANTS", "INPUT", "OUTPUT", "SCRATCH", "Compiled", "CompiledGraph", "Place", "compile_graph", "finish"]

# Base registers: the program is always behind register 0.
PROGRAM, CONSTANTS, INPUT, OUTPUT, SCRATCH = range(5)


class Place(NamedTuple):
    """An int8 tensor that goes in or out, row-major at ``offset`` from its base register."""

    key: str
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Compiled:
    """What a device needs for one run: words, constants, and where everything lies.

    ``bases``, ``sizes`` : address and bytes of program, constants, inputs, outputs and scratch memory, by base register
    ``inputs``, ``outputs`` : tensors in INPUT and OUTPUT
    ``macs`` : useful multiplications
    ``layers`` : what each operator of the network does in this program
    """

    config: Config
    commands: list[Command]
    constants: np.ndarray
    bases: tuple[int, ...]
    sizes: tuple[int, ...]
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    macs: int
    layers: tuple[LayerInfo, ...] = ()

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

    def write(self, put: Callable[[int, np.ndarray], None], *arrays: np.ndarray) -> None:
        """Hand constants and inputs to ``put(address, data)``; raises :class:`NetworkError` for inputs of another shape."""
        if len(arrays) != len(self.inputs):
            raise NetworkError(f"there must be one array for each of {len(self.inputs)} inputs, not {len(arrays)}")
        for place, x in zip(self.inputs, arrays, strict=True):
            if x.dtype != np.int8 or x.shape != place.shape:
                raise NetworkError(f"input must be int8 of shape {place.shape}, not {x.dtype} {x.shape}")
        if self.constants.size:
            put(self.bases[CONSTANTS], self.constants)
        for place, x in zip(self.inputs, arrays, strict=True):
            put(self.bases[INPUT] + place.offset, np.ascontiguousarray(x))

    def read(self, get: Callable[[int, int], np.ndarray]) -> tuple[np.ndarray, ...]:
        """The outputs that ``get(address, bytes)``, uint8, finds."""
        return tuple(get(self.bases[OUTPUT] + place.offset, place.size).view(np.int8).reshape(place.shape) for place in self.outputs)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CompiledGraph:
    """``steps``, one after the other: programs, and operators for the host. Tensors between them go through the host."""

    graph: Graph
    config: Config
    steps: tuple[Compiled | Node, ...]

    @property
    def programs(self) -> tuple[Compiled, ...]:
        return tuple(step for step in self.steps if isinstance(step, Compiled))

    @property
    def macs(self) -> int:
        """Multiplications of all operators, those on the host included."""
        return self.graph.macs

    @property
    def memory_bytes(self) -> int:
        """Device memory that the largest program takes."""
        return max((program.memory_bytes for program in self.programs), default=0)

    def run(self, execute: Callable[[Compiled, Sequence[np.ndarray]], tuple[np.ndarray, ...]],
            arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The network on ``arrays``, its programs by ``execute(program, inputs)``."""
        self.graph.check_inputs(arrays)
        values = dict(zip(self.graph.inputs, arrays, strict=True))
        for step in self.steps:
            if isinstance(step, Compiled):
                outputs = execute(step, [values[place.key] for place in step.inputs])
                values |= {place.key: array for place, array in zip(step.outputs, outputs, strict=True)}
            else:
                values[step.output] = step.operator.reference(*(values[key] for key in step.inputs))
        return tuple(values[key] for key in self.graph.outputs)


def compile_graph(graph: Graph, config: Config, *, memory: Memory | None = None) -> CompiledGraph:
    """Programs for ``graph``; ``memory`` is what the cycle model assumes when it chooses among plans.

    Raises
    ------
    PlanError
        An operator does not fit the accelerator; the message names it.
    """
    steps: list[Compiled | Node] = []
    for nodes in _segments(graph):
        if isinstance(nodes[0].operator, HostOp):
            steps += nodes
            continue
        # Another shape of what the host has is the host's to give.
        origins = _origins(nodes)
        made = {node.output for node in nodes}
        steps += [node for node in nodes if isinstance(node.operator, Reshape) and origins[node.output] not in made]
        if any(not isinstance(node.operator, Reshape) for node in nodes):
            steps.append(_program(graph, nodes, config, memory))
    return CompiledGraph(graph=graph, config=config, steps=tuple(steps))


def _origins(nodes: Sequence[Node]) -> dict[str, str]:
    """For each tensor that is another shape of one, that one."""
    origins: dict[str, str] = {}
    for node in nodes:
        if isinstance(node.operator, Reshape):
            origins[node.output] = origins.get(node.inputs[0], node.inputs[0])
    return origins


def _segments(graph: Graph) -> Iterator[list[Node]]:
    """Nodes that go into one program, and each operator of the host for itself: as few programs as the order allows."""
    done, left = set(graph.inputs), list(graph.nodes)
    while left:
        for host in (False, True):
            taken, ready = [], set(done)
            for node in left:
                if isinstance(node.operator, HostOp) == host and ready.issuperset(node.inputs):
                    taken.append(node)
                    ready.add(node.output)
                    if host:
                        break
            if taken:
                yield taken
                done |= {node.output for node in taken}
                left = [node for node in left if node.output not in done]


def _program(graph: Graph, nodes: Sequence[Node], config: Config, memory: Memory | None) -> Compiled:
    made = {node.output for node in nodes}
    outside = {key for node in graph.nodes if node.output not in made for key in node.inputs} | set(graph.outputs)
    inputs = list(dict.fromkeys(key for node in nodes for key in node.inputs if key not in made))
    origins = _origins(nodes)
    outputs = [node.output for node in nodes if node.output in outside and origins.get(node.output, node.output) in made]
    given, results = _places(graph, inputs, config, {}), _places(graph, outputs, config, origins)
    where = {place.key: (INPUT, place.offset) for place in given} | {place.key: (OUTPUT, place.offset) for place in results}
    lowered = lower(graph, nodes, config, where, inputs)
    plan = plan_graph(config, lowered.specs, lowered.layers, constants=CONSTANTS, scratch=SCRATCH, memory=memory)
    infos = layer_infos(graph, nodes, config, plan.nodes, plan.commands)
    return finish(config, plan.commands, lowered.constants.block, inputs=given, outputs=results, scratch_bytes=plan.scratch_bytes,
                  macs=sum(graph.node_macs(node) for node in nodes), layers=infos)


def _places(graph: Graph, keys: Sequence[str], config: Config, origins: Mapping[str, str]) -> tuple[Place, ...]:
    """One behind the other; shapes of one tensor are in one place."""
    places: list[Place] = []
    offset, known = 0, {}
    for key in keys:
        origin = origins.get(key, key)
        if origin not in known:
            known[origin] = offset
            offset += -(-math.prod(graph.tensors[key].shape) // config.bus_bytes) * config.bus_bytes
        places.append(Place(key, known[origin], graph.tensors[key].shape))
    return tuple(places)


def finish(config: Config, commands: list[Command], constants: np.ndarray, *, inputs: Sequence[Place], outputs: Sequence[Place],
           macs: int, scratch_bytes: int = 0, layers: Sequence[LayerInfo] = ()) -> Compiled:
    """Give everything its address."""
    sizes = (4 * sum(command.words for command in commands), constants.size,
             *(max((place.offset + place.size for place in places), default=0) for places in (inputs, outputs)), scratch_bytes)
    bases, address = [], 0
    for size in sizes:
        bases.append(address)
        address += -(-size // config.bus_bytes) * config.bus_bytes
    return Compiled(config=config, commands=commands, constants=constants, bases=tuple(bases), sizes=sizes, inputs=tuple(inputs),
                    outputs=tuple(outputs), macs=macs, layers=tuple(layers))


