"""What an output-stationary array is made with, and the page about it."""

import re

import pytest
from systolith.arch.config import ConfigError
from systolith.arch.latency import Latency
from systolith.arch.settings import resolve
from systolith.boards import get_board
from systolith.cli import bench_dataflow
from systolith.gen.area_model import area
from systolith.gen.fabric import Fabric, measure_array

OS = {"dataflow": "os"}


@pytest.mark.parametrize(("settings", "message"), [
    *(({"array": OS | {"multiplier": kind}},
       f"array.multiplier must be 'auto', 'single' or 'lut' where array.dataflow is 'os', not {kind!r}") for kind in (
           "fast-inner-product", "packed", "dual")),
    ({"array": OS | {"block_rows": 4}}, "array.block_rows must be 0 where array.dataflow is 'os', not 4"),
    ({"array": OS, "control": {"engines": "serial"}}, "array.dataflow must be 'ws' where control.engines is 'serial', not 'os'"),
    ({"array": {"dataflow": "is"}}, "array.dataflow must be one of 'ws', 'os', not 'is'"),
])
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve(settings)


def test_columns_without_dsp_blocks_are_single():
    """An array of more multipliers than the part has: pairs of rows need weights that stay."""
    config = resolve({"array": OS | {"rows": 8, "cols": 8}}, dsp_blocks=16 + 5 * 8)
    assert (config.array.multiplier, config.array.dsp_columns) == ("single", 5)


@pytest.mark.parametrize(("rows", "tile"), [(1, {"ws": 31, "os": 16}), (16, {"ws": 31, "os": 16}), (24, {"ws": 31, "os": 32}),
                                            (32, {"ws": 32, "os": 32}), (64, {"ws": 64, "os": 64})])
def test_cycles_of_a_tile(rows, tile):
    """Where sums stay, a weight tile takes a slot of 16 cycles for every 16 rows begun; where weights stay, 31 cycles at least."""
    assert {dataflow: Latency(resolve({"array": {"dataflow": dataflow}})).rows_cycles(rows) for dataflow in tile} == tile


def test_its_area_is_not_estimated():
    """Of which nothing was counted, so nothing is said."""
    board = get_board("ulx3s-85f")
    assert area(resolve({"array": {"rows": 8, "cols": 8}, "shell": "serial"}), board)
    assert not area(resolve({"array": OS | {"rows": 8, "cols": 8}, "shell": "serial"}), board)


def test_an_array_alone_is_measured(tmp_path):
    fabric = measure_array(get_board("tang-primer-20k"), tmp_path, rows=2, cols=2, multiplier="single", dataflow="os")
    assert fabric.dsp == 4 and fabric.ff > 4 * 64  # two sums of 32 bits each


def test_page(monkeypatch, tmp_path):
    """A small machine, the demo's network, and areas that nobody made."""
    asked = []

    def measured(board, directory, **options):
        asked.append(options["dataflow"])
        return Fabric(640, 1280, 64, None)

    monkeypatch.setattr(bench_dataflow, "measure_array", measured)
    monkeypatch.setattr(bench_dataflow, "MACHINES", [bench_dataflow.Machine("4 × 4", 4, 4, 64)])
    monkeypatch.setattr(bench_dataflow, "SHAPES", [(1, 40, 40)])
    lines = bench_dataflow.dataflow_page(tmp_path, 3, "made by", lambda columns, rows: [" | ".join(row) for row in rows])
    row, = (line for line in lines if line.startswith("1 × 40 × 40 | "))
    ws, os_, ratio, _ = row.split(" | ")[1:]
    assert any(line.startswith("digits | ") for line in lines)
    assert ratio == f"**{int(ws.replace(',', '')) / int(os_.replace(',', '')):.2f}**"  # a row of A: os is faster
    assert "`single`, os | 64 | 10.0 | 20.0" in lines and asked == ["ws", "os"] * 2
