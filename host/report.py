"""What each operator of a compiled network does: work, bytes, and cycles by the cycle model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..arch.commands import Command, Execute, Load, Store, Target
from ..arch.config import Config
from ..arch.footprint import accumulator_count, memory_offsets, run_count, store_bytes, tile_count
from .graph import Graph, Node

__all__ = ["LayerInfo", "layer_infos"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """An operator in a program.

    Parameters
    ----------
    index, name, op : of the node in its file
    macs : multiplications that it is counted with
    macs_issued : multiplications by the whole array in every row streamed for it, padding included
    bytes_read, bytes_written : bus words of its LOADs, and bytes of its STOREs to memory
    commands : numbers of its commands in the program
    """

    index: int
    name: str
    op: str
    macs: int
    macs_issued: int
    bytes_read: int
    bytes_written: int
    commands: tuple[int, ...]

    @property
    def ceiling(self) -> float | None:
        """Utilisation if the array streamed a row in every cycle: what the padding of tiles allows; None without multiplications."""
        return self.macs / self.macs_issued if self.macs and self.macs_issued else None


def layer_infos(graph: Graph, nodes: Sequence[Node], config: Config, owners: Sequence[int], commands: Sequence[Command]) -> list[LayerInfo]:
    """One entry for each of ``nodes`` that has commands; ``owners`` says for each command whose it is."""
    own: dict[int, list[int]] = {}
    for number, owner in enumerate(owners):
        own.setdefault(owner, []).append(number)
    return [LayerInfo(index=nodes[owner].index, name=nodes[owner].name, op=nodes[owner].op, macs=graph.node_macs(nodes[owner]),
                      commands=tuple(numbers), **_work(config, [commands[number] for number in numbers]))
            for owner, numbers in sorted(own.items())]


def _work(config: Config, commands: Sequence[Command]) -> dict[str, int]:
    rows = read = written = 0
    for command in commands:
        match command:
            case Execute():
                rows += tile_count(command) * accumulator_count(command)
            case Load():
                starts = memory_offsets(command, np.arange(run_count(command)))
                words = (starts + command.run - 1) // config.bus_bytes - starts // config.bus_bytes + 1
                read += int(words.sum()) * config.bus_bytes
            case Store(target=Target.MEMORY):
                written += run_count(command) * store_bytes(config, command)
    return {"macs_issued": rows * config.macs_per_cycle, "bytes_read": read, "bytes_written": written}
