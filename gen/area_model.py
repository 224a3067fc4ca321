"""Look-up tables and flip-flops of an accelerator from its configuration alone, block by block.

What a block takes is a sum of terms, sizes of what is in it, each with a coefficient for each family of parts. The coefficients are
fitted by least squares, none of them negative, to what yosys counted of random configurations: ``make bench-area`` does it and says how
far off the sums are, ``area_<family>.json`` holds them.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from math import log2
from typing import Any

from ..arch.config import Config
from ..boards import Board

__all__ = ["KINDS", "area", "block_of", "coefficients", "terms"]

KINDS = ("lut", "ff")
_CORE = "shell.core.systolith.core"
_DATAPATH = ("array", "transposer", "accumulator", "activations", "weights")
_ENGINES = ("load", "store", "execute", "fetch", "dispatch")


def block_of(path: str) -> str:
    """The block, a key of :func:`terms`, in which an instance of a board's bare variant counts."""
    if not path.startswith(_CORE):
        return "shell"
    first, *rest = [*path.removeprefix(_CORE).lstrip(".").split("."), ""][:2]
    if first == "datapath" and rest[0] in _DATAPATH:
        return rest[0]
    if first == "store" and rest[0] == "epilogue":
        return "epilogue"
    return first if first in _ENGINES else "control"


def _bits(count: int) -> int:
    """Width of a number below ``count``."""
    return max(1, (count - 1).bit_length())


def _array(config: Config, dsp: bool) -> dict[str, float]:
    array = config.array
    kind, weights, rows = array.multiplier_kind, array.weights, array.multiplier_rows
    if array.activations == "int16" or array.dataflow == "os":  # of which nothing was counted
        weights = f"{array.activations} × {weights}, {array.dataflow}"
    in_dsp, sum_bits = array.dsp_columns * dsp, array.weight_bits + 7 + log2(array.rows)
    pairs = kind == "fast-inner-product"
    terms: Counter[str] = Counter()
    if kind == "packed":
        terms["packed"] = rows * (in_dsp // 2)
        terms["single int8"] = rows * (in_dsp % 2)
    else:
        terms[f"{kind} {weights}"] = rows * in_dsp
    terms[f"{'pairs' if pairs else 'ones'} in LUTs, {weights}"] = rows * (array.cols - in_dsp)
    terms[f"row terms in {'DSP' if array.side_dsp and dsp else 'LUTs'}"] = rows * pairs
    crossings = (rows - 1) // array.block_rows if array.block_rows else 0
    return {**terms, "bits of sums": rows * array.cols * sum_bits, "crossings": crossings * array.cols * sum_bits, "rows": rows,
            "columns": array.cols, "feet": pairs * array.cols * sum_bits}


def _scratchpad(config: Config, lanes: int, rows: int) -> dict[str, float]:
    written = config.write_bytes(lanes)
    return {"1": 1, "lanes": lanes, "rotator": lanes * log2(written), "addresses": lanes * _bits(rows)}


def terms(config: Config, board: Board) -> dict[str, dict[str, float]]:
    """Block → term → its size in ``config`` on ``board``, behind a serial shell."""
    array, memory, epilogue, control = config.array, config.memory, config.epilogue, config.control
    bus, lanes, address = config.bus_bytes, epilogue.lanes, config.offset_bits
    written = config.write_bytes(array.rows) + config.write_bytes(config.weight_lanes)
    rotator = bus * log2(bus)
    return {
        "array": _array(config, board.resources["dsp"] > 0),
        "transposer": {"bits": array.transposer * array.rows * array.cols * array.weight_bits, "columns": array.transposer * array.cols,
                       "rows": array.transposer * array.rows},
        "accumulator": {"1": 1, "columns": array.cols, "choice of lanes": array.cols * lanes, "lanes": lanes,
                        "addresses": array.cols * _bits(config.half_rows), "depth": array.cols * config.half_rows / 512},
        "activations": _scratchpad(config, array.rows, config.activation_rows),
        "weights": _scratchpad(config, config.weight_lanes, config.weight_rows),
        "epilogue": {"1": 1, epilogue.multiplier: lanes, "tables of ADD": epilogue.add * lanes, "ADD": epilogue.add,
                     "maximum": epilogue.max_pool * lanes, "parameters": lanes * _bits(config.parameter_groups)},
        "load": {"1": 1, "bus": bus, "rotator": rotator, "address": address, "bursts in flight": _bits(memory.outstanding),
                 "outer loop": control.run_loops - 1, "row numbers": control.row_bits, "written": written, "columns": array.cols},
        "store": {"1": 1, "bus": bus, "rotator": rotator, "address": address, "outer loop": control.run_loops - 1, "lanes": lanes,
                  "ADD": epilogue.add, "maximum": epilogue.max_pool, "written": written, "rows and columns": array.rows + array.cols,
                  "second operand": epilogue.add * array.rows},
        "execute": {"1": 1, "padding": control.padding, "outer loops": control.outer_loops, "inner loops": control.inner_loops,
                    "coordinates": control.padding * (control.inner_loops + control.outer_loops), "row numbers": control.row_bits,
                    "columns": array.cols, "rows": array.rows},
        "dispatch": {"1": 1, "queue": control.queue_commands, "short queue": control.queue_commands == 2, "tokens": control.token_bits},
        "fetch": {"1": 1, "bus": bus, "address": address},
        "control": {"1": 1, "counters": control.counter_bits > 0, "bits of counters": control.counter_bits, "address": address, "bus": bus,
                    "rows": array.rows, "columns": array.cols, "tokens": control.token_bits, "outer loops": control.outer_loops},
        "shell": {"1": 1, "bus": bus, "rates": control.line_rates, "memory with two ports": bus * (board.memory_ports == 2)},
    }


@functools.cache
def coefficients(family: str) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Block → "lut" or "ff" → term → coefficient; nothing for a family that was not fitted."""
    file = resources.files(__package__).joinpath(f"area_{family}.json")
    if not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found["coefficients"]


def area(config: Config, board: Board) -> dict[str, int]:
    """Look-up tables and flip-flops of ``board`` in its bare variant, as :data:`~.area.CELL_AREA` counts them in the netlist that goes to
    place and route. Nothing for a family that was not fitted, for other shells, or where ``config`` has what no configuration had that
    was counted."""
    sums = dict.fromkeys(KINDS, 0.0)
    known = coefficients(board.family) if config.shell == "serial" else {}
    for block, sizes in terms(config, board).items():
        for kind in KINDS:
            if not known or any(size and term not in known[block][kind] for term, size in sizes.items()):
                return {}
            sums[kind] += sum(known[block][kind][term] * size for term, size in sizes.items() if size)
    return {kind: round(total) for kind, total in sums.items()}
