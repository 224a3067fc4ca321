"""The command line: its documents, its one-line errors and exit codes, and what it leaves unloaded."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import systolith
from systolith.cli import demo, flow, products
from systolith.cli.main import main
from systolith.cli.settings import cache_folder, choose
from systolith.host.matmul import Requantise


def run(capsys, *arguments):
    """(exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache of the tests' own."""
    folder = str(tmp_path_factory.mktemp("cache"))
    before = os.environ.get("XDG_CACHE_HOME")
    # Yosys' compiled form stays where it is: making it again takes half a minute.
    os.environ.setdefault("YOWASP_CACHE_DIR", os.path.join(before or os.path.expanduser("~/.cache"), "YoWASP"))
    os.environ["XDG_CACHE_HOME"] = folder
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


SMALL = ("--set", "array.rows=3", "--set", "array.cols=2")


@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (7, 5, 11), (1, 13, 2), (40, 3, 17)])
@pytest.mark.parametrize("out", ["int32", "int8"])
def test_matmul_on_the_model(capsys, m, n, k, out):
    code, stdout, stderr = run(capsys, "matmul", "--m", m, "--n", n, "--k", k, "--out", out, "--device", "model", *SMALL, "--json")
    document = json.loads(stdout)
    assert (code, stderr) == (0, "")
    assert document["correct"] is True and document["mismatches"] == 0 and document["macs"] == m * n * k <= document["macs_issued"]
    assert document["host_bytes_rearranged"] == 0 and document["bytes_read"] > 0
    assert not {"cycles", "utilisation", "stalls"} & set(document), "what a model without a clock cannot know is absent"


@pytest.mark.parametrize("out", ["int32", "int8"])
def test_matmul_with_int4_weights(capsys, out):
    settings = ("--set", "array.weights=int4", "--set", "array.rows=3", "--set", "array.cols=5")
    code, stdout, stderr = run(capsys, "matmul", "--m", 9, "--n", 13, "--k", 11, "--out", out, "--device", "model", *settings, "--json")
    document = json.loads(stdout)
    assert (code, stderr, document["correct"]) == (0, "", True)
    assert document["host_bytes_rearranged"] == 11 * (3 + 3 + 2), "a row of W: two tiles of five columns and one of three"


def test_matmul_on_the_simulation(capsys, tmp_path):
    trace = tmp_path / "trace.json"
    arguments = ("matmul", "--m", 9, "--n", 5, "--k", 7, "--memory-latency", 3, "--trace", trace, *SMALL, "--seed", 7)
    code, stdout, stderr = run(capsys, *arguments, "--json")
    document = json.loads(stdout)
    assert code == 0 and document["correct"] is True, stderr
    assert all(line.startswith("» ") for line in stderr.splitlines())
    assert 0 < document["utilisation"] < 1
    assert document["utilisation"] == pytest.approx(9 * 5 * 7 / (3 * 2 * document["cycles"]))
    assert all(sum(causes.values()) == document["cycles"] for causes in document["stalls"].values())
    assert json.loads(trace.read_text())
    code, stdout, _ = run(capsys, *arguments)  # for people, and from the cache
    assert code == 0 and "utilisation" in stdout and "wait" in stdout


def test_wrong_results_are_an_error(capsys, monkeypatch):
    monkeypatch.setattr(products, "exact_product", lambda a, w: np.zeros((len(a), w.shape[1]), np.int32) - 1)
    code, stdout, stderr = run(capsys, "matmul", "--m", 2, "--n", 2, "--k", 2, "--device", "model", "--json")
    assert code == 1 and json.loads(stdout)["correct"] is False and json.loads(stdout)["mismatches"] == 4
    assert stderr == "systolith: 4 of 4 results differ from NumPy; please report seed 1 and this configuration\n"


def test_boards(capsys):
    code, stdout, stderr = run(capsys, "boards", "--json")
    boards = json.loads(stdout)
    assert (code, stderr) == (0, "") and {board["name"] for board in boards} >= {"ulx3s-85f", "icebreaker"}
    assert {"name", "device", "clock_mhz", "oscillator_mhz", "link", "memory_kib", "variants", "toolchain"} <= set(boards[0])
    assert "ulx3s-85f" in run(capsys, "boards")[1]


def test_compare(capsys):
    code, stdout, _ = run(capsys, "compare", "--m", 8, "--n", 8, "--k", 8, "--device", "model", *SMALL, "--json")
    lines = {line["backend"]: line for line in json.loads(stdout)}
    assert code == 0 and list(lines) == ["fpga", "numpy", "torch", "torch-cuda", "jax"]
    assert all(("reason" in line) != ({"seconds", "gops", "how"} <= set(line)) for line in lines.values())
    assert lines["numpy"]["how"] == "measured"


@pytest.mark.parametrize("arguments, code, message", [
    (("frobnicate",), 2, "No such command 'frobnicate'; see: systolith --help"),
    (("matmul", "--m", "1", "--n", "1"), 2, "Missing option '--k'; see: systolith matmul --help"),
    (("boards", "--colour"), 2, "No such option: --colour; see: systolith boards --help"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--set", "array.row=3"), 1,
     "unknown configuration key 'array.row'; did you mean 'rows'?"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--set", "array.rows=0"), 1, "array.rows must be from 1 to 256, not 0"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--board", "ulx3"), 1, "board 'ulx3' is not known; did you mean 'ulx3s-85f'?"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--device", "axi:"), 1,
     "device 'axi:' must be axi:DEVICE, such as axi:/dev/uio0, or axi:REGISTERS,MEMORY, such as axi:/dev/uio0,/dev/udmabuf0"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--device", "abacus"), 1,
     "device must be one of sim, model, serial:PORT[@BAUD], axi:DEVICE, litex:HOST:PORT, etherbone:HOST[:PORT], not 'abacus'"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--device", "etherbone:127.0.0.1:99999"), 1,
     "port of 'etherbone:127.0.0.1:99999' must be from 1 to 65535, not 99999"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--device", "litex:localhost:0"), 1,
     "port of 'litex:localhost:0' must be from 1 to 65535, not 0"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--out", "int9"), 1, "out must be one of 'int32', 'int8', not 'int9'"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--config", "absent.toml"), 1,
     "configuration file 'absent.toml' cannot be read: No such file or directory"),
    (("matmul", "--m", "1", "--n", "1", "--k", "1", "--memory", "board", *SMALL), 1,
     "memory 'board' needs a board; add --board, or use memory 'ideal'"),
    (("verify",), 1, "nothing was chosen; give a generated folder, or --board, --config or --set"),
    (("build", "out", "--board", "ulx3s-85f"), 1,
     "a generated folder carries its configuration; give either DIR or --board, --config, --set and -o"),
    (("run", "x.tflite"), 1, "model 'x.tflite' cannot be read: No such file or directory"),
])
def test_errors_are_one_line(capsys, monkeypatch, tmp_path, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    if "board" in arguments:  # refused before anything is generated for it
        monkeypatch.setattr(flow, "generate_cached", lambda *_, **__: pytest.fail("generated"))
    assert run(capsys, *arguments) == (code, "", f"systolith: {message}\n")
    assert not list(tmp_path.iterdir())
    assert run(capsys, *arguments, "--json") == (code, json.dumps({"error": message}) + "\n", f"systolith: {message}\n")


def test_a_bug_is_one_line_too(capsys, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")
    monkeypatch.setattr(flow, "connect", broken)
    code, stdout, stderr = run(capsys, "matmul", "--m", 1, "--n", 1, "--k", 1)
    assert (code, stdout) == (1, "")
    assert stderr == "systolith: internal error, ZeroDivisionError: by zero; set SYSTOLITH_TRACEBACK=1 to see where\n"
    monkeypatch.setenv("SYSTOLITH_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["matmul", "--m", "1", "--n", "1", "--k", "1"])


def test_generate_and_report(capsys, tmp_path):
    code, stdout, _ = run(capsys, "generate", *SMALL, "-o", tmp_path / "out", "--json")
    document = json.loads(stdout)
    assert code == 0 and set(document["files"]) == {path.name for path in (tmp_path / "out").iterdir()} and document["seconds"] > 0
    message = f"folder '{tmp_path / 'out'}' has no build; run: systolith build {tmp_path / 'out'}"
    assert run(capsys, "report", tmp_path / "out") == (1, "", f"systolith: {message}\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear to me")
    code, _, stderr = run(capsys, "generate", *SMALL, "-o", tmp_path / "mine")
    assert code == 1 and "must be empty or hold a generated accelerator" in stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_demo_stops_at_what_fails(capsys, monkeypatch, tmp_path):
    """The steps in order, the network before the minutes; a failed bench ends it before the build."""
    steps = []

    def step(name, document):
        return lambda *_, **__: steps.append(name) or document

    figures = {"cycles_per_image": 2000.0, "stalls": {"load": {"busy": 1}}}
    monkeypatch.setattr(demo, "_train", step("train", (None, None, None, {"float_accuracy": 0.99})))
    monkeypatch.setattr(demo, "_run", step("run", figures))
    monkeypatch.setattr(flow, "generate_folder", step("generate", {"files": []}))
    monkeypatch.setattr(flow, "verify_folder", step("verify", {"passed": 3, "failed": 1, "log": "test.log"}))
    monkeypatch.setattr(flow, "build_folder", step("build", {"fmax_mhz": 80.0}))
    assert run(capsys, "demo", "-o", tmp_path, "--json")[1] == json.dumps({"error": "1 benches failed; see test.log"}) + "\n"
    assert steps == ["train", "generate", "run", "verify"]
    monkeypatch.setattr(flow, "verify_folder", step("verify", {"passed": 4, "failed": 0, "log": "test.log"}))
    code, stdout, _ = run(capsys, "demo", "-o", tmp_path, "--no-bitstream", "--json")
    document = json.loads(stdout)
    assert code == 0 and document["network"] == {"float_accuracy": 0.99, **figures} and "build" not in document
    # Where control.counter_bits is 0, there are cycles only.
    monkeypatch.setattr(demo, "_train", step("train", (None, None, None, {"float_accuracy": 0.99})))
    monkeypatch.setattr(demo, "_run", step("run", {"cycles_per_image": 2000.0}))
    code, stdout, stderr = run(capsys, "demo", "-o", tmp_path, "--no-bitstream")
    assert code == 0 and "cycles per image" in stdout and "engine" not in stdout, stderr


def test_precedence(tmp_path):
    """Built-in default < board < configuration file < --set."""
    file = tmp_path / "x.toml"
    file.write_text("[array]\nrows = 6\n[memory]\nbus_bits = 32\n")
    default, board = choose(), choose(board="ulx3s-85f")
    assert (default.config.array.rows, default.config.memory.bus_bits) == (16, 64)
    assert board.config.array.rows == board.board.settings["array"]["rows"]
    chosen = choose(board="ulx3s-85f", config=file, assignments=["memory.bus_bits=128"], shell="native")
    assert chosen.config.array.rows == 6 and chosen.config.array.cols == board.config.array.cols
    assert chosen.config.memory.bus_bits == 128 and chosen.config.shell == "native"
    assert len({cache_folder(target) for target in (default, board, chosen, choose())}) == 3


def test_connect_is_the_python_api():
    rng = np.random.default_rng(0)
    a, w = rng.integers(-128, 128, (6, 9), np.int8), rng.integers(-128, 128, (9, 4), np.int8)
    with systolith.connect("model", config={"array": {"rows": 5, "cols": 3}}) as accelerator:
        np.testing.assert_array_equal(accelerator.matmul(a, w), a.astype(int) @ w.astype(int))
        requantised = accelerator.matmul(a, w, bias=np.zeros(4, np.int32), requantise=Requantise(multiplier=1 << 30, shift=-8))
        assert requantised.dtype == np.int8
    np.testing.assert_array_equal(systolith.reference.matmul(a, w), a.astype(int) @ w.astype(int))


def test_help_and_light_commands_load_no_hardware_tools():
    script = ("import sys\nfrom systolith.cli.main import main\n"
              "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
              "print([m for m in ('amaranth', 'cocotb', 'torch', 'jax', 'sklearn') if m in sys.modules], file=sys.stderr)")
    for arguments in (["--help"], ["boards"], ["matmul", "--m", "2", "--n", "2", "--k", "2", "--device", "model"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr.strip() == "[]", arguments


def test_no_colour_in_pipes_or_where_it_is_not_wanted():
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-m", "systolith.cli.main", "boards"], capture_output=True, text=True, timeout=60, check=True,
                          env=environment)
    assert "\x1b[" not in done.stdout + done.stderr
