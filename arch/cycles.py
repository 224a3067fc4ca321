"""How many cycles a program takes: a model of the machine, command by command, without running it.

Commands begin in the order of time, held up by dispatch, tokens, the accumulator's halves and their engine; within a command, bursts,
rows and tiles follow each other by rules that need no clock. Works on programs of any origin. All constants are latencies
of blocks (:mod:`.latency`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .commands import Command
from .config import Config
from .cycles_kinds import Shapes, shapes_of
from .cycles_machine import Machine, Prediction
from .latency import Memory
from .registers import BASES

__all__ = ["Memory", "Prediction", "predict_cycles"]

_PROGRAMS = 256  # predictions to remember


def predict_cycles(config: Config, program: Sequence[Command], *, words: np.ndarray | None = None, memory: Memory | None = None,
                   bases: Sequence[int] = (), fresh: bool = False) -> Prediction:
    """Predict a program that ends without an error.

    What was found out about commands and programs is kept for the next ones: a planner that has chosen among programs by their cycles
    knows those of the one that it took.

    Parameters
    ----------
    config : the accelerator
    program : commands with their tokens
    words : the same packed, if it is at hand: in it, commands that are alike are found faster
    memory : device memory, by default :class:`Memory` as it stands
    bases : addresses in base registers; those that are not given are taken to be 0
    fresh : use nothing that is kept from before, as for timing the model itself
    """
    shapes = Shapes(config, memory or Memory()) if fresh else shapes_of(config, memory or Memory())
    kinds = shapes.kinds(program, (*bases, *[0] * BASES)[:BASES], words)
    place = bases[0] % shapes.latency.fetch_bytes if bases else 0
    key = place, np.array([kind.number for kind in kinds], np.int32).tobytes()
    known = shapes.predictions
    if key not in known:
        while len(known) >= _PROGRAMS:
            del known[next(iter(known))]
        known[key] = Machine(shapes, kinds, place).run()
    prediction: Prediction = known[key]
    return dataclasses.replace(prediction, busy=dict(prediction.busy))
