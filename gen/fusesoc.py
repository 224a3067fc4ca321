"""The FuseSoC core file of one accelerator, so that a SoC can depend on the generated folder as it stands."""

from __future__ import annotations

from pathlib import Path

from ..arch.manifest import VERILOG_NAME, Manifest

__all__ = ["CORE_NAME", "core_file"]

CORE_NAME = "systolith.core"


def core_file(manifest: Manifest) -> str:
    """``systolith.core``: CAPI2, a file set for the Verilog and one for the C driver, a target for each top module.

    The default target is the accelerator alone; ``lint`` checks it with Verilator. The name holds the board or the array's size,
    not the hash, so that generating again does not change what a SoC depends on.
    """
    array = manifest.config.array
    variant = Path(manifest.board).stem if manifest.board else f"{array.rows}x{array.cols}"
    targets = {"default": manifest.tops["core"]} | {name: top for name, top in manifest.tops.items() if name != "core"}
    lines = [
        "CAPI=2:", "",
        f'name: "systolith:accelerator:{variant}:{manifest.version}"',
        f'description: "Matrix-multiply accelerator, {array.rows} x {array.cols}, {array.activations} x {array.weights}, '
        f'build hash {manifest.hash[:16]}"', "",
        "filesets:",
        "  rtl:", f"    files: [{VERILOG_NAME}]", "    file_type: verilogSource",
        "  driver:", "    files:", "      - systolith.h: {is_include_file: true}",
        "      - systolith_driver.h: {is_include_file: true}", "      - systolith.c", "    file_type: cSource", "",
        "targets:"]
    for name, top in targets.items():
        lines += [f"  {name}:", "    filesets: [rtl]", f"    toplevel: {top}"]
    lines += ["  lint:", "    filesets: [rtl]", f"    toplevel: {targets['default']}", "    flow: lint", "    flow_options:",
              "      tool: verilator", "      verilator_options: [-Wno-fatal]"]
    return "\n".join([*lines, ""])
