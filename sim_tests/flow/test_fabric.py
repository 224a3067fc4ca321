"""Arrays alone: what is counted, what is placed, and the page about them."""

import pytest
from systolith.boards import get_board
from systolith.cli import bench_fabric
from systolith.gen.fabric import Fabric, measure_array
from systolith.gen.fmax import Fmax


@pytest.mark.parametrize(("multiplier", "dsp_cols", "dsp"), [("single", None, 4), ("single", 0, 0), ("packed", None, 4),
                                                             ("fast-inner-product", 1, 1)])
def test_gowin_is_synthesised_only(tmp_path, multiplier, dsp_cols, dsp):
    fabric = measure_array(get_board("tang-primer-20k"), tmp_path, rows=2, cols=2, multiplier=multiplier, dsp_cols=dsp_cols)
    assert (fabric.dsp, fabric.fmax) == (dsp, None)
    assert fabric.lut > 0 and fabric.ff > 4 * 17


def test_ice40_is_placed(tmp_path):
    """Without its multipliers nothing is added to nextpnr's period."""
    fabric = measure_array(get_board("icebreaker"), tmp_path, rows=2, cols=2, multiplier="single", dsp_cols=0)
    assert fabric.dsp == 0 and 4 * 100 < fabric.lut < 4 * 200
    assert fabric.fmax.mhz == fabric.fmax.nextpnr_mhz > 20 and fabric.fmax.rule == "nextpnr's Fmax"


def test_page(monkeypatch):
    asked = []

    def measured(board, directory, **options):
        asked.append((board.name, options))
        fmax = None if board.family == "gowin" else Fmax(150.0, 160.0, "x → y", "rule")
        return Fabric(640, 1280, 0 if options["dsp_cols"] == 0 else 32, fmax)

    monkeypatch.setattr(bench_fabric, "measure_array", measured)
    lines = bench_fabric.fabric_page(3, "made by")
    assert "| packed, pinned | 8 × 8 | 32 | 2 | 10.0 | 20.0 | 150 | x → y | 19.2 |" in lines
    assert "| lut | 8 × 8 | 0 | – | 10.0 | 20.0 | – | – | – |" in lines
    assert {options["seed"] for _, options in asked} == {3}
    assert {name for name, _ in asked} == {"ulx3s-85f", "icebreaker", "tang-primer-20k"}


def test_floorplan_page(monkeypatch):
    def measured(board, directory, *, seeds, **options):
        for seed in seeds:
            yield seed, Fmax(100.0 + seed, 200.0, "x → y", "rule"), Fmax(150.0, 160.0, "x → y", "rule")

    monkeypatch.setattr(bench_fabric, "measure_floorplan", measured)
    lines = bench_fabric.floorplan_page(3, "made by")
    assert "| 4 | 104.0 | 150.0 | x → y |" in lines
    assert "| median | 105.0 | 150.0 | ratio 1.43 |" in lines
