"""Whether a configuration fits a part, known before synthesis; and the nearest one that does."""

from __future__ import annotations

from collections.abc import Iterator

from ..arch.config import Config, ConfigError
from ..arch.settings import resolve
from ..boards import Board
from .area_model import KINDS, area

__all__ = ["MARGIN", "blocks_needed", "estimate", "excess", "nearest"]

MARGIN = 0.1  # by which an estimate of look-up tables and flip-flops may be off
# Bits of a block RAM, parity included, where any shape of memory may fill it.
_KIBIBITS = {"gowin": 18, "gatemate": 20}


def blocks_needed(config: Config, board: Board) -> dict[str, int]:
    """Multipliers and block RAMs that ``config`` needs on ``board``: a lower bound."""
    if board.family in _KIBIBITS:
        return _blocks_by_bits(config, board)
    array = config.array
    pairs = array.multiplier_kind == "dual" and board.family == "ice40"
    multipliers = array.multiplier_rows * -(-array.cols // 2) if pairs else array.dsp_blocks
    multipliers += config.epilogue.dsp_blocks(array.accumulator_bits)
    wide = board.family != "ice40"  # 18 Kib, up to 36 bits of a word
    if wide:
        bytes_deep, words_deep, words_per_ram = 2048, 512, 1
        device_memory = memory_rams = board.memory_bytes // 2048
    else:
        bytes_deep, words_deep, words_per_ram = 512, 256, 2
        device_memory, memory_rams = 0, board.memory_bytes // 32768
    memory, epilogue = config.memory, config.epilogue
    rams = config.activation_lanes * -(-config.activation_rows // bytes_deep) + config.weight_lanes * -(-config.weight_rows // bytes_deep)
    rams += device_memory + epilogue.lanes * words_per_ram * epilogue.add  # and tables
    if config.control.engines == "serial":
        # Both halves of the accumulator in one; words of parameters, base registers, commands that wait, counters but for the first.
        rams += words_per_ram * (array.cols * -(-memory.accumulator_rows // words_deep) + -(-4 * memory.parameter_channels // words_deep))
        rams += -(-memory.address_bits // (32 // words_per_ram)) + words_per_ram + 3 * (config.control.counter_bits > 0)
    else:
        rams += 2 * array.cols * _rams(array.accumulator_bits, config.half_rows, words_deep, 36 // words_per_ram)
        if wide and config.parameter_groups > 32:  # memories of fewer rows are made of look-up tables
            rams += 76 * epilogue.lanes // 36 + (config.parameter_groups > 128)  # 76 bits of a lane's three words are used
    needs = {"dsp": multipliers, "bram": rams}
    if "spram" in board.resources:
        needs["spram"] = memory_rams
    elif board.family == "ice40":  # no multipliers, and the device memory is in block RAMs
        needs["dsp"], needs["bram"] = 0, rams + board.memory_bytes // bytes_deep
    return needs


def _rams(bits: int, depth: int, rows: int, width: int) -> int:
    """Block RAMs of ``width`` × ``rows``, half as wide and twice as deep, and so on, for ``depth`` words of ``bits``: the fewest."""
    return min(-(-bits // (width >> halved)) * -(-depth // (rows << halved)) for halved in range(width.bit_length()))


def _blocks_by_bits(config: Config, board: Board) -> dict[str, int]:
    """The same on Gowin and GateMate. Memories of few rows are left out: look-up tables or flip-flops may hold them."""
    array = config.array
    memories = [(config.activation_lanes, config.activation_rows, 8), (config.weight_lanes, config.weight_rows, 8),
                (array.cols, config.memory.accumulator_rows, array.accumulator_bits), (1, board.memory_bytes, 8)]
    rams = sum(count * -(-depth * bits // (_KIBIBITS[board.family] * 1024)) for count, depth, bits in memories if depth > 256)
    # A lane of the epilogue multiplies 32 × 32 bits, with four times two of Gowin's 9 × 9; a wider accumulator's word with six.
    return {"dsp": array.dsp_blocks + 2 * config.epilogue.dsp_blocks(array.accumulator_bits) if board.resources["dsp"] else 0, "bram": rams}


def estimate(config: Config, board: Board) -> dict[str, int]:
    """What ``config`` needs of the part on ``board``, known before synthesis: :func:`blocks_needed`, and where these are known
    (:func:`~.area_model.area`) about how many look-up tables and flip-flops."""
    return area(config, board) | blocks_needed(config, board)


def excess(config: Config, board: Board) -> dict[str, int]:
    """What ``config`` needs of each resource of which ``board`` has less, whatever synthesis makes of it."""
    return {name: needed for name, needed in estimate(config, board).items()
            if needed * (1 - MARGIN if name in KINDS else 1) > board.resources[name]}


def _smaller_arrays(config: Config) -> Iterator[dict[str, dict[str, object]]]:
    array = config.array
    step = array.rows // array.multiplier_rows
    sizes = [(rows, cols) for rows in range(step, array.rows + 1, step) for cols in range(1, array.cols + 1)]
    for rows, cols in sorted(sizes, key=lambda size: (-size[0] * size[1], abs(size[0] * array.cols - size[1] * array.rows))):
        yield {"array": {"rows": rows, "cols": cols}, "epilogue": {"lanes": min(config.epilogue.lanes, cols)}}


def _smaller(config: Config, board: Board, name: str) -> Iterator[dict[str, dict[str, object]]]:
    """Changes that save some of resource ``name``, those that keep most first."""
    array, memory = config.array, config.memory
    if name == "dsp":
        if array.multiplier_kind == "single" and board.family == "ice40":
            yield {"array": {"multiplier": "dual"}}
        if array.side_dsp:
            yield {"array": {"side_dsp": False}}
        if array.multiplier_kind == "single" and array.rows % 2 == 0:
            yield {"array": {"multiplier": "fast-inner-product"}}
        yield from _smaller_arrays(config)
    elif name in KINDS:
        if array.transposer:
            yield {"array": {"transposer": False}}
        yield from _smaller_arrays(config)
    elif name == "bram":
        for parts in range(15, 0, -1):
            yield {"memory": {"activation_kib": max(1, memory.activation_kib * parts // 16),
                              "weight_kib": max(1, memory.weight_kib * parts // 16)}}
        yield {"memory": {"activation_kib": max(1, memory.activation_kib // 16), "weight_kib": max(1, memory.weight_kib // 16),
                          "accumulator_rows": max(16, memory.accumulator_rows // 4)}}
        yield from _smaller_arrays(config)
        if array.accumulator_bits > 32:
            yield {"array": {"accumulator_bits": 32}}


def nearest(config: Config, board: Board) -> str | None:
    """The settings that make ``config`` fit, as ``--set`` takes them, or None where no smaller array or memory helps."""
    lacking = excess(config, board)
    settings = config.to_dict()
    for name in lacking:
        for change in _smaller(config, board, name):
            try:
                changed = resolve({section: values | change.get(section, {}) if isinstance(values, dict) else values
                                   for section, values in settings.items()})
            except ConfigError:
                continue
            if name in excess(changed, board):
                continue
            rest = nearest(changed, board) if excess(changed, board) else ""
            if rest is not None:
                mine = " ".join(f"{section}.{key}={'false' if value is False else value}" for section, values in change.items()
                                for key, value in values.items() if value != settings[section][key])
                return f"{mine} {rest}".strip()
    return None
