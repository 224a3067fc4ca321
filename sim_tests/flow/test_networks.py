"""``systolith run`` and ``systolith compile``: documents, files, one-line errors, and a replay by the C driver."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the package 'tflite' is not installed")

from random_models import Maker
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.cli.main import main
from systolith.gen import tools
from systolith.gen.generate import generate
from systolith.gen.simulate import compile_simulation
from systolith.host.accelerator import Accelerator
from systolith.host.session import Session
from systolith.host.simulated import SimulatedDevice, _Settings
from systolith.host.tflite_reader import read_tflite
from tflite_writer import NONE, SAME

SMALL = ("--set", "array.rows=4", "--set", "array.cols=4")
CONFIG = resolve({"array": {"rows": 4, "cols": 4}})
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_POSIX_C_SOURCE=200809L")


def run(capsys, *arguments):
    """(exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def two_programs():
    """A model whose softmax stands in the middle; what comes behind it has two inputs."""
    made = Maker(np.random.default_rng(5))
    x = made.input((1, 6, 5, 3))
    y = made.conv(x, 6, (3, 3), padding=SAME, fused=NONE)
    y = made.dense(made.reshape(y, (1, 180)), 8, fused=NONE)
    return made.model(made.dense(made.add(made.softmax(y), y, fused=NONE), 5, fused=NONE))


@pytest.fixture
def files(tmp_path):
    """Paths of a model, an input and the output that belongs to it."""
    model = two_programs()
    graph = read_tflite(model)
    x = np.random.default_rng(6).integers(-128, 128, (2, 6, 5, 3), np.int8)
    (tmp_path / "m.tflite").write_bytes(model)
    np.save(tmp_path / "x.npy", x)
    return tmp_path, np.concatenate([graph.reference(part)[0] for part in np.split(x, 2)])


def test_run(capsys, files):
    folder, expected = files
    code, stdout, stderr = run(capsys, "run", folder / "m.tflite", "--input", folder / "x.npy", "--output", folder / "y.npy", "--device",
                               "model", "--timeline", folder / "t.svg", *SMALL, "--json")
    assert code == 0 and all(line.startswith("» ") for line in stderr.splitlines())
    np.testing.assert_array_equal(np.load(folder / "y.npy"), expected)
    document = json.loads(stdout)
    assert {"predicted_cycles", "macs", "macs_issued", "utilisation", "bytes_read", "bytes_written", "fallback_ops",
            "layers"} <= set(document)
    assert "cycles" not in document, "what a model without a clock cannot know is absent"
    assert document["fallback_ops"] == [{"index": 3, "op": "SOFTMAX", "macs": 0}] and document["batch"] == 2
    assert [layer["op"] for layer in document["layers"]] == ["Conv2D", "FullyConnected", "SOFTMAX", "Add", "FullyConnected"]
    assert {"name", "op", "macs", "utilisation", "bound_by"} <= set(document["layers"][0])
    assert (folder / "t.svg").read_text().startswith("<svg ")
    assert sorted(path.name for path in folder.iterdir()) == ["m.tflite", "t.svg", "x.npy", "y.npy"]
    code, stdout, _ = run(capsys, "run", folder / "m.tflite", "--device", "model", *SMALL)  # for people, on random data
    assert code == 0 and "FullyConnected" in stdout and "on the host: operator 3 (SOFTMAX)" in stdout


def test_run_says_what_is_wrong(capsys, files):
    folder, _ = files
    np.save(folder / "wrong.npy", np.zeros((1, 6, 5, 4), np.int8))
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:140])
    (folder / "damaged.tflite").write_bytes((folder / "m.tflite").read_bytes()[:700])
    model, before = folder / "m.tflite", None
    for arguments, message in (
            ((model, "--input", folder / "wrong.npy"), "input 't0' must be int8 of shape (B, 6, 5, 3), not int8 (1, 6, 5, 4)"),
            ((model, "--input", folder / "objects.npy"), "must be a .npy file of numbers, as numpy.save writes it"),
            ((model, "--input", folder / "short.npy"), "must be a .npy file of numbers, as numpy.save writes it"),
            ((model, "--input", folder / "absent.npy"), "cannot be read: No such file or directory"),
            ((model, "--input", folder / "x.npy", "--input", folder / "x.npy"), "there must be one array for each input ('t0'), not 2"),
            ((folder / "damaged.tflite",), "model 'damaged.tflite': TFLite file is damaged"),
            ((folder,), "cannot be read: Is a directory"),
            ((model, "--output", folder / "no" / "y.npy"), "must be a file in a folder that exists and can be written"),
            ((model, "--set", "control.padding=false"), "control.padding must be true")):
        output = () if "--output" in arguments else ("--output", folder / "y.npy")
        before = sorted(folder.iterdir())
        code, stdout, stderr = run(capsys, "run", *arguments, *output, "--device", "model", "--json")
        error = stderr.splitlines()[-1]
        assert code == 1 and error.startswith("systolith: ") and message in error, stderr
        assert json.loads(stdout) == {"error": error.removeprefix("systolith: ")}
        assert sorted(folder.iterdir()) == before, "nothing is written"


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory):
    """A generated folder and its simulation."""
    folder = tmp_path_factory.mktemp("generated")
    generate(CONFIG, folder)
    return folder, compile_simulation(folder).path


def test_compile_and_replay_in_c(capsys, files, accelerator, tmp_path):
    """The C driver runs both programs from the files alone, with the softmax between them in Python, in the Python driver's cycles."""
    folder, expected = files
    generated, library = accelerator
    output = folder / "compiled"
    code, stdout, _ = run(capsys, "compile", folder / "m.tflite", "-o", output, "--directory", generated, "--json")
    document = json.loads(stdout)
    assert code == 0 and document["programs"] == 2 and document["host_steps"] == ["SOFTMAX"]
    assert sorted(document["files"]) == sorted(path.name for path in output.iterdir()) == [
        "constants0.bin", "constants1.bin", "memory_map.json", "network.h", "program0.bin", "program1.bin"]
    plan = json.loads((output / "memory_map.json").read_text())
    assert plan["hash"] == Manifest.read(generated).hash
    program = tmp_path / "replay"
    subprocess.run([shutil.which("cc") or tools.compiler(), "-x", "c", *WARNINGS, Path(__file__).parents[1] / "support" / "replay.c",
                    generated / "systolith.c", f"-I{generated}", f"-I{output}", "-ldl", "-o", program], check=True)
    (tmp_path / "settings").write_bytes(bytes(_Settings(memory_bytes=plan["memory_bytes"], latency=30, cycles_per_beat=1)))
    graph = read_tflite((folder / "m.tflite").read_bytes())
    x = np.load(folder / "x.npy")[:1]
    values, cycles = {graph.inputs[0]: x}, []
    number = 0
    for step in plan["steps"]:
        if "host" in step:
            (node,) = [node for node in graph.nodes if node.output == step["output"]]
            values[step["output"]] = node.operator.reference(*(values[key] for key in step["inputs"]))
            continue
        memory = np.zeros(plan["memory_bytes"], np.uint8)
        places = {base["holds"]: base["address"] for base in step["bases"]}
        for address, octets in ((places["program"], np.fromfile(output / step["program"], np.uint8)),
                                (places["constants"], np.fromfile(output / step["constants"], np.uint8)),
                                *((place["address"], values[place["tensor"]].reshape(-1).view(np.uint8)) for place in step["inputs"])):
            memory[address:address + octets.size] = octets
        memory.tofile(tmp_path / "memory")
        done = subprocess.run([program, library, tmp_path / "settings", tmp_path / "memory", str(number)], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("0 "), done
        cycles.append(int(done.stdout.split(";")[1].split()[0]))
        memory = np.fromfile(tmp_path / "memory", np.int8)
        for place in step["outputs"]:
            values[place["tensor"]] = memory[place["address"]:place["address"] + place["bytes"]].reshape(place["shape"])
        number += 1
    np.testing.assert_array_equal(values[graph.outputs[0]], expected[:1])
    manifest = Manifest.read(generated)
    with Accelerator(SimulatedDevice(library, manifest, memory_bytes=plan["memory_bytes"], latency=30), manifest) as python:
        session = Session(graph, python)
        session.run(x)
    assert cycles == [one.counters["cycles"] for one in session.runs]


def test_compile_says_what_is_wrong(capsys, files):
    folder, _ = files
    (folder / "file").write_text("")
    for arguments, message in (
            ((folder / "m.tflite", "-o", folder / "file"), "cannot be written: File exists"),
            ((folder / "m.tflite", "-o", folder / "out", "--directory", folder / "none"), "none"),
            ((folder / "m.tflite", "-o", folder / "out", "--directory", folder, "--board", "ulx3s-85f"),
             "a generated folder carries its configuration; give either --directory or board, config and settings")):
        code, _, stderr = run(capsys, "compile", *arguments, "--json")
        assert code == 1 and message in stderr.splitlines()[-1]
        assert not (folder / "out").exists()
