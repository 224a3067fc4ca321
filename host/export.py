"""A compiled network as files that a C program can replay: programs, constants, and a memory map for people, tools and compilers.

For each program: load ``program*.bin`` and ``constants*.bin`` at their addresses, put the inputs at theirs, set the base registers, run,
and read the outputs. Tensors are int8, row-major, NHWC; where the file has uint8, each byte is the file's exclusive-or 0x80.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..arch.registers import BASES
from .compile import CONSTANTS, INPUT, OUTPUT, PROGRAM, SCRATCH, Compiled, CompiledGraph, Place
from .graph import Graph

__all__ = ["FORMAT", "export_files", "memory_map"]

FORMAT = 1
_BASE_NAMES = {PROGRAM: "program", CONSTANTS: "constants", INPUT: "input", OUTPUT: "output", SCRATCH: "scratch"}
_HEADER = """\
/* Memory map of {model}, compiled for {accelerator}. Written by systolith compile.
 *
 * For program i: load {programs} at systolith_network[i].base[0] and {constants} at base[1], put the inputs at their addresses,
 * call systolith_network_run(&device, i, looks), and read the outputs. memory_map.json has names, shapes and scales.
 */
#ifndef SYSTOLITH_NETWORK_H
#define SYSTOLITH_NETWORK_H

#include "systolith_driver.h"

#define SYSTOLITH_NETWORK_PROGRAMS {count}
#define SYSTOLITH_NETWORK_MEMORY_BYTES {memory}u
{defines}

/* Words of each program; address and bytes of its base registers. */
static const struct {{ uint32_t words; uint64_t base[{bases}][2]; }} systolith_network[SYSTOLITH_NETWORK_PROGRAMS] = {{
{rows}
}};

/* Set the base registers and run program `program`: see systolith_run. */
static inline systolith_result systolith_network_run(const systolith_device *device, unsigned program, uint32_t looks)
{{
    unsigned i;

    for (i = 0; i < {bases}; i++)
        systolith_set_base(device, i, systolith_network[program].base[i][0], systolith_network[program].base[i][1]);
    return systolith_run(device, 0, systolith_network[program].words, looks);
}}

#endif
"""


def _file(kind: str, number: int, count: int) -> str:
    return f"{kind}.bin" if count == 1 else f"{kind}{number}.bin"


def _tensor(graph: Graph, key: str) -> dict[str, Any]:
    info = graph.tensors[key]
    document: dict[str, Any] = {"tensor": key, "name": info.name, "shape": list(info.shape), "file_dtype": info.dtype}
    if info.quantisation is not None:
        document |= {"scale": info.quantisation.scale, "zero_point": info.quantisation.zero_point}
    return document


def _places(graph: Graph, compiled: Compiled, places: tuple[Place, ...], base: int) -> list[dict[str, Any]]:
    return [{**_tensor(graph, place.key), "address": compiled.bases[base] + place.offset, "bytes": place.size} for place in places]


def memory_map(compiled: CompiledGraph, *, model: str, accelerator: str, digest: str | None = None) -> dict[str, Any]:
    """What is where, and in which order it runs: JSON's types.

    Parameters
    ----------
    model, accelerator : names, for the reader
    digest : hash of the accelerator's Verilog, where that exists
    """
    programs = compiled.programs
    steps: list[dict[str, Any]] = []
    for step in compiled.steps:
        if isinstance(step, Compiled):
            number = sum("program" in done for done in steps)
            steps.append({
                "program": _file("program", number, len(programs)), "words": int(step.words.size),
                "constants": _file("constants", number, len(programs)),
                "bases": [{"register": index, "holds": _BASE_NAMES[index], "address": address, "bytes": size}
                          for index, (address, size) in enumerate(zip(step.bases, step.sizes, strict=True))],
                "inputs": _places(compiled.graph, step, step.inputs, INPUT),
                "outputs": _places(compiled.graph, step, step.outputs, OUTPUT)})
        else:
            steps.append({"host": step.op, "index": step.index, "name": step.name, "inputs": list(step.inputs), "output": step.output})
    document: dict[str, Any] = {"format": FORMAT, "model": model, "accelerator": accelerator, "configuration": compiled.config.to_dict()}
    if digest is not None:
        document["hash"] = digest
    return document | {"memory_bytes": compiled.memory_bytes, "inputs": [_tensor(compiled.graph, key) for key in compiled.graph.inputs],
                       "outputs": [_tensor(compiled.graph, key) for key in compiled.graph.outputs], "steps": steps}


def _c_header(compiled: CompiledGraph, document: dict[str, Any]) -> str:
    defines, rows = [], []
    programs = [step for step in document["steps"] if "program" in step]
    for number, step in enumerate(programs):
        for kind in ("input", "output"):
            for index, place in enumerate(step[f"{kind}s"]):
                name = f"SYSTOLITH_NETWORK_{number}_{kind.upper()}{index}"
                defines += [f"#define {name}_ADDRESS {place['address']}u", f"#define {name}_BYTES {place['bytes']}u"]
        bases = [f"{{{base['address']}u, {base['bytes']}u}}" for base in step["bases"]]
        bases += ["{0u, 0u}"] * (BASES - len(bases))
        rows.append(f"    {{{step['words']}u, {{{', '.join(bases)}}}}},")
    names = {kind: " … ".join(dict.fromkeys(_file(kind, n, len(programs)) for n in (0, len(programs) - 1)))
             for kind in ("program", "constants")}
    return _HEADER.format(model=_comment(document["model"]), accelerator=_comment(document["accelerator"]), programs=names["program"],
                          constants=names["constants"], count=len(programs), memory=compiled.memory_bytes, defines="\n".join(defines),
                          bases=BASES, rows="\n".join(rows))


def _comment(text: str) -> str:
    """Nothing that ends the comment, or the line."""
    return "".join(c if c.isprintable() and c not in "*\\" else "_" for c in text)


def export_files(compiled: CompiledGraph, document: dict[str, Any]) -> dict[str, bytes]:
    """Contents by name: ``program.bin``, ``constants.bin`` (numbered where there are several), ``memory_map.json``, ``network.h``."""
    files: dict[str, bytes] = {}
    programs = compiled.programs
    for number, program in enumerate(programs):
        files[_file("program", number, len(programs))] = program.words.astype("<u4").tobytes()
        files[_file("constants", number, len(programs))] = np.ascontiguousarray(program.constants).tobytes()
    files["memory_map.json"] = (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
    files["network.h"] = _c_header(compiled, document).encode()
    return files
