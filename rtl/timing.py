"""What EXECUTE tells the datapath each cycle, and the distances in cycles that it has to keep."""

import dataclasses

from amaranth import *
from amaranth.lib import data

__all__ = ["DatapathTiming", "PassControl", "RowControl", "WeightControl"]


class WeightControl(data.StructLayout):
    """One cycle of the weight path: all flags low when nothing happens.

    ``shift``: shadow weights move down one row and row 0 takes weight row ``row``, or zeros with ``zero``, or with ``emit``
    the transposer's bottom row; where sums stay, that row meets its activations at once. ``fill``: weight row ``row`` is piece ``piece``
    of a vector and enters the transposer.
    """

    def __init__(self, *, rows: int, cols: int):
        self.rows = rows
        self.cols = cols
        super().__init__({
            "row": unsigned(16), "shift": 1, "zero": 1,
            "fill": 1, "piece": range(-(-rows // cols)), "emit": 1,
        })


class RowControl(data.StructLayout):
    """One cycle of the activation path: nothing happens unless ``valid``.

    Activation row ``row``, or ``pad_value`` for every activation with ``pad``, is multiplied by the active tile (the shadow weights
    become active with ``swap``) and added to accumulator row ``accumulator_row``, or overwrites it without ``accumulate``. Where a swap
    takes a cycle for itself (:class:`DatapathTiming`), it comes without ``valid``, and pads with zeros.
    """

    def __init__(self):
        super().__init__({
            "valid": 1, "row": unsigned(16), "pad": 1, "pad_value": signed(8), "swap": 1,
            "accumulator_row": unsigned(16), "accumulate": 1,
        })


class PassControl(data.StructLayout):
    """One cycle of an output-stationary array: reading, multiplying and draining, of three passes that follow each other.

    Activation row ``row``, or ``pad_value`` for every activation with ``pad``, is read with ``valid``. With ``move`` it enters the corner
    turn in the direction ``down``, and a vector leaves it, which meets the weights of this cycle: the ``first`` one of its sums or their
    ``end``. With ``touch`` a row of complete sums is added to accumulator row ``accumulator_row``, or overwrites it without
    ``accumulate``; the first one in the cycle after ``end``.
    """

    def __init__(self):
        super().__init__({
            "valid": 1, "row": unsigned(16), "pad": 1, "pad_value": signed(8), "move": 1, "down": 1, "first": 1, "end": 1,
            "touch": 1, "accumulator_row": unsigned(16), "accumulate": 1,
        })


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatapathTiming:
    """Distances between cycles at the datapath's ports: event B may come ``a_to_b_cycles`` after event A, not earlier.

    Of EXECUTE's controls: ``swap_cycles`` (a swap, its tile's first row; 0: it comes with that row), ``swap_to_shift_cycles`` (a swap,
    first shift of the next tile), ``shift_to_swap_cycles`` (last shift, the swap), ``fill_to_emit_cycles`` (last fill, first
    emit), ``emit_to_fill_cycles`` (last emit, first fill of the next tile), ``distance_cycles`` (a touch of an accumulator row, an
    accumulating touch of the same row).

    Until something is visible: ``settle_cycles`` (a touch, a drain request that sees it in all columns),
    ``write_cycles`` (a scratchpad write accepted, a control that reads it), ``load_cycles`` (an accumulator load, a drain
    request that sees it). ``drain_cycles`` is the drain port's latency, from request to words.
    """

    swap_cycles: int
    swap_to_shift_cycles: int
    shift_to_swap_cycles: int
    fill_to_emit_cycles: int
    emit_to_fill_cycles: int
    distance_cycles: int
    settle_cycles: int
    write_cycles: int
    load_cycles: int
    drain_cycles: int
