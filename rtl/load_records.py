"""What LOAD's asking side tells the writing side of a burst."""

from amaranth import *
from amaranth.lib import data

from ..arch.commands import Bank
from ..arch.config import Config
from .load_fields import bank_lanes

__all__ = ["BURST_BEATS", "ChunkLayout", "RecordLayout", "behind_first_chunk", "chunk_bits", "most_bytes", "next_chunk"]

BURST_BEATS = 64


class RecordLayout(data.StructLayout):
    """What the writing side has to know of a burst that was requested.

    ``bytes`` bytes from byte ``first`` of the burst's first word on. The first burst of a run (``start``) begins at ``row``,
    ``lane``, the others go on where the last one ended. ``last`` ends the command, which then posts to ``post``.
    """

    def __init__(self, config: Config):
        super().__init__({
            "bank": range(len(bank_lanes(config))), "start": 1, "row": config.control.row_bits,
            "lane": range(max(bank_lanes(config).values())),
            "first": range(config.bus_bytes), "bytes": range(BURST_BEATS * config.bus_bytes + 1), "last": 1, "post": 2,
            "chunk": ChunkLayout(config),
        })


class ChunkLayout(data.StructLayout):
    """The next bytes of a burst that are written at once: how many; whether the burst ends with them; and whether their bus word does."""

    def __init__(self, config: Config):
        super().__init__({"count": range(max(_most_bytes(config).values()) + 1), "burst_end": 1, "word_end": 1})


def _most_bytes(config: Config) -> dict[Bank, int]:
    """That go to each bank at once."""
    return {bank: config.write_bytes(lanes) if bank in (Bank.ACTIVATION, Bank.WEIGHT) else 4 for bank, lanes in bank_lanes(config).items()}


def most_bytes(config: Config, first: Value, bank: Value) -> Value:
    """That are written at once from byte ``first`` of a bus word on, if the burst has as many: a table of a few inputs."""
    limits, ends = _most_bytes(config).values(), range(config.bus_bytes, 0, -1)  # to the word's end, by ``first``
    bits = chunk_bits(config)
    return Array(Array(C(min(limit, end), bits) for end in ends)[first] for limit in limits)[bank]


def behind_first_chunk(config: Config, record: data.View) -> Value:
    """The record with what is left behind its first chunk for ``bytes``; anything, if the burst ends with that."""
    left = (record.bytes - most_bytes(config, record.first, record.bank))[:len(record.bytes)]
    return Cat(left if name == "bytes" else record[name] for name in record.shape().members)


def chunk_bits(config: Config) -> int:
    """Of the most bytes that are written at once."""
    return max(_most_bytes(config).values()).bit_length()


def next_chunk(config: Config, first: Value, left: Value, bank: Value, *, few: Value | None = None, more: Value = C(0, 1),
               last_word: Value = C(0, 1)) -> Value:
    """The :class:`ChunkLayout` of a burst of which ``left`` bytes are left, from byte ``first`` of a bus word on.

    ``few``: ``left`` has no bits beyond :func:`chunk_bits`, where that is known already.

    Where there are ``more`` bytes than the burst's, it ends with the bus word of which this is ``last_word``: then ``left`` is what is
    left of the run, and nobody waits for what is left of the burst.
    """
    limits, ends = _most_bytes(config).values(), range(config.bus_bytes, 0, -1)  # to the word's end, by ``first``
    most = most_bytes(config, first, bank)
    bits = chunk_bits(config)
    all_fit = Array(Array(C(end <= limit, 1) for end in ends)[first] for limit in limits)[bank]
    few = left[bits:] == 0 if few is None else few
    reaches = ~more & few & (left[:bits] <= most)
    return Cat(Mux(reaches, left, most)[:bits], reaches | more & last_word & all_fit,
               Mux(reaches, left == config.bus_bytes - first, all_fit))
