"""The command line: arguments in, documents out. What the commands do is in :mod:`.flow` and its neighbours."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import console, show

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]},
                  help="Generate systolic-array accelerators, prove them, put them on boards and compute with them.")

Board = Annotated[str | None, typer.Option("--board", metavar="NAME", help="Board to target; see: systolith boards.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration, TOML.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; repeatable.")]
Shell = Annotated[str | None, typer.Option("--shell", metavar="NAME", help="Short for --set shell=NAME.")]
Variant = Annotated[str | None, typer.Option("--variant", metavar="NAME", help="bare: memory on the part (default); litex: a SoC with the "
                                                                               "board's SDRAM or DDR3.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
DeviceName = Annotated[str, typer.Option("--device", metavar="DEVICE", help="sim, model, serial:PORT[@BAUD], axi:DEVICE, "
                                                                            "litex:HOST:PORT or etherbone:HOST[:PORT].")]
Latency = Annotated[int, typer.Option("--memory-latency", metavar="CYCLES", min=1, help="Of the simulated memory.")]
Memory = Annotated[str, typer.Option("--memory", metavar="KIND", help="Simulated memory: ideal, board, or chip (on the board's part).")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")]
Folder = Annotated[Path | None, typer.Argument(metavar="DIR", help="A generated folder.")]
GeneratedFolder = Annotated[Path | None, typer.Option("--directory", metavar="DIR", help="A generated folder to use.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A quantised network: a .tflite or .onnx file.")]
Calibration = Annotated[list[Path] | None, typer.Option("--calibration", metavar="X.npy", help="Typical inputs, to quantise a float ONNX "
                                                                                               "model with; one file for each input.")]
Size = typer.Option(min=1)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from .. import __version__
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _settings(seed: int, latency: int = 30, memory: str = "ideal", **more: Any) -> Any:
    from .flow import Settings
    return Settings(memory_latency=latency, memory=memory, seed=seed, **more)


@app.command()
def boards(as_json: Json = False) -> None:
    """List the boards that can be targeted."""
    with console.guarded(as_json=as_json):
        from ..boards import BOARDS
        rows = [board.summary() for board in BOARDS.values()]
    console.emit(rows, as_json=as_json, show=lambda: console.table(rows, [name for name in rows[0] if name != "oscillator_mhz"]))


@app.command()
def generate(output: Output = None, board: Board = None, config: ConfigFile = None, assignments: Assignments = None, shell: Shell = None,
             variant: Variant = None, seed: Seed = 1, as_json: Json = False) -> None:
    """Write Verilog, manifest, C header and register map into a folder."""
    with console.guarded(as_json=as_json):
        from . import flow
        result = flow.generate_folder(output, board=board, config=config, assignments=assignments or (), shell=shell,
                                      variant=variant, progress=console.progress)
    console.emit(result, as_json=as_json, show=lambda: show.show_generated(result))


@app.command()
def verify(directory: Folder = None, board: Board = None, config: ConfigFile = None, assignments: Assignments = None,
           simulator: Annotated[str, typer.Option("--simulator", metavar="NAME", help="verilator or icarus.")] = "verilator",
           seed: Seed = 1, as_json: Json = False) -> None:
    """Run the cocotb benches on the emitted Verilog, against NumPy."""
    with console.guarded(as_json=as_json):
        from . import flow
        result = flow.verify_folder(directory, board=board, config=config, assignments=assignments or (), simulator=simulator, seed=seed,
                                    progress=console.progress)
    console.emit(result, as_json=as_json, show=lambda: print(
        "{passed} passed, {failed} failed with seed {seed} on {simulator}, {seconds:.0f} s".format_map(result)))
    if result["failed"]:
        first = result["failures"][0]
        console.complain(f"{result['failed']} benches failed; the first, {first['test']}: {first['message']}; see {result['log']}")
        raise typer.Exit(1)


@app.command()
def build(directory: Folder = None, output: Output = None, board: Board = None, config: ConfigFile = None, assignments: Assignments = None,
          variant: Variant = None,
          seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Place with seeds 1 to N; the median run counts.")] = 1,
          seed: Seed = 1, as_json: Json = False) -> None:
    """Synthesise, place and route a bitstream; print its clock and utilisation. For AMD's parts the latter only: the rest is Vivado's."""
    with console.guarded(as_json=as_json):
        from . import flow
        result = flow.build_folder(directory, output=output, board=board, config=config, assignments=assignments or (),
                                   variant=variant, seeds=seeds,
                                   progress=console.progress)
    console.emit(result, as_json=as_json, show=lambda: show.show_build(result))


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that was built.")], as_json: Json = False) -> None:
    """Show utilisation by block, the clock and what bounds it."""
    with console.guarded(as_json=as_json):
        from ..gen.report import read_report
        result = read_report(directory)
    console.emit(result, as_json=as_json, show=lambda: show.show_build(result))


@app.command("simulate-board")
def simulate_board(directory: Folder = None, board: Board = None, config: ConfigFile = None, assignments: Assignments = None,
                   variant: Variant = None,
                   latency_us: Annotated[float, typer.Option("--latency-us", min=0, help="Of the adapter, each way.")] = 0,
                   real_time: Annotated[bool, typer.Option("--real-time", help="Not faster than the board would be.")] = False,
                   as_json: Json = False) -> None:
    """Simulate a whole board until Ctrl-C: its serial line at a pseudo-terminal, for --device serial:PORT, and its Ethernet, where the
    LiteX variant has one, at a UDP port, for --device etherbone:HOST:PORT."""
    with console.guarded(as_json=as_json), contextlib.ExitStack() as stack:
        from . import flow
        folder, running = stack.enter_context(flow.simulated_board(
            directory, board=board, config=config, assignments=assignments or (), variant=variant, latency_us=latency_us,
            real_time=real_time, progress=console.progress))
        device = f"serial:{running.port}"
        network = {"etherbone": f"etherbone:{running.network}"} if running.network else {}
        with contextlib.redirect_stdout(sys.__stdout__):
            console.emit({"device": device, "port": running.port, **network, "directory": str(folder)}, as_json=as_json,
                         show=lambda: print(f"{device} {''.join(f'or {place} ' for place in network.values())}is the board of {folder}; "
                                            "in another terminal:\n"
                                            f"  systolith matmul --m 8 --n 8 --k 8 --directory {folder} --device {device}"))
            sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            running.process.wait()


@app.command()
def flash(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that was built.")],
          persistent: Annotated[bool, typer.Option("--persistent", help="Into the board's flash memory.")] = False,
          bitstream: Annotated[Path | None, typer.Option("--bitstream", metavar="FILE", help="Instead of the build's.")] = None,
          as_json: Json = False) -> None:
    """Load the bitstream of a build into its board."""
    with console.guarded(as_json=as_json):
        from ..gen.flash import flash as load
        console.progress("loading the bitstream (openFPGALoader)")
        result = load(directory, persistent=persistent, bitstream=bitstream)
    console.emit(result, as_json=as_json, show=lambda: print(
        f"{result['board']} runs {result['bitstream']}{' after every power-up' if result['persistent'] else ''}"))


@app.command()
def probe(directory: Folder = None, port: Annotated[list[str] | None, typer.Option("--port", metavar="PORT[@BAUD]", help="Look only here; "
                                                                                   "repeatable.")] = None,
          as_json: Json = False) -> None:
    """Find boards at the serial ports, and say what each of them is."""
    with console.guarded(as_json=as_json):
        from . import board_flow
        rows = board_flow.probe(directory, ports=port, progress=console.progress)
    console.emit(rows, as_json=as_json, show=lambda: show.show_probe(rows))
    if not any(row["found"] for row in rows):
        console.complain("there is no serial port; is a board plugged in?" if not rows else
                         f"no accelerator was found: {rows[0]['what']}" if len(rows) == 1 else
                         "no accelerator was found; is a board plugged in, and its bitstream loaded (systolith flash)?")
        raise typer.Exit(1)


@app.command()
def selftest(device: Annotated[str, typer.Option("--device", metavar="DEVICE", help="serial:PORT[@BAUD], or sim or model.")],
             directory: Annotated[Path | None, typer.Option("--directory", metavar="DIR", help="The folder of its bitstream.")] = None,
             board: Board = None, config: ConfigFile = None, assignments: Assignments = None,
             quick: Annotated[bool, typer.Option("--quick", help="Less of everything.")] = False, seed: Seed = 1,
             as_json: Json = False) -> None:
    """Test memory, tokens, products, counters and cycles of a device; paste the output into a bug report."""
    with console.guarded(as_json=as_json):
        from . import board_flow
        result = board_flow.selftest(device, directory=directory, board=board, config=config, assignments=assignments or (), quick=quick,
                                     seed=seed, progress=console.progress)
    console.emit(result, as_json=as_json, show=lambda: show.show_selftest(result))
    if not result["passed"]:
        failed = sum(test["passed"] is False for test in result["tests"])
        console.complain(f"{failed} of {len(result['tests'])} tests failed; please report all of the above")
        raise typer.Exit(1)


@app.command()
def matmul(m: Annotated[int, Size], n: Annotated[int, Size], k: Annotated[int, Size],
           out: Annotated[str, typer.Option("--out", metavar="TYPE", help="int32, or what A is through the epilogue.")] = "int32",
           device: DeviceName = "sim", directory: GeneratedFolder = None, board: Board = None, config: ConfigFile = None,
           assignments: Assignments = None, memory_latency: Latency = 30,
           memory: Memory = "ideal", seed: Seed = 1,
           vcd: Annotated[Path | None, typer.Option("--vcd", metavar="FILE", help="Write waveforms of the simulation.")] = None,
           trace: Annotated[Path | None, typer.Option("--trace", metavar="FILE", help="Write what the engines did, for Perfetto.")] = None,
           as_json: Json = False) -> None:
    """Multiply random matrices, C[M,N] = A[M,K] · W[K,N], and check against NumPy."""
    with console.guarded(as_json=as_json):
        from . import flow, products
        # What the array's activations are is known when it has been built, and then looked at again.
        products.check_product(m, n, k, out, activations="int16" if out == "int16" else "int8")
        settings = _settings(seed, memory_latency, memory, vcd=vcd, trace=trace is not None)
        with flow.connect(device, board=board, config=config, directory=directory, assignments=assignments or (), settings=settings,
                          progress=console.progress) as accelerator:
            result = products.matmul(accelerator, m, n, k, out=out, seed=seed, memory=flow.known_memory(accelerator, device, settings))
            if trace is not None:
                flow.write_command_trace(accelerator, trace)
    console.emit(result, as_json=as_json, show=lambda: show.show_matmul(result))
    if not result["correct"]:
        console.complain(f"{result['mismatches']} of {m * n} results differ from NumPy; please report seed {seed} and this configuration")
        raise typer.Exit(1)


@app.command()
def compare(m: Annotated[int, Size], n: Annotated[int, Size], k: Annotated[int, Size],
            build_directory: Annotated[Path | None, typer.Option("--build", metavar="DIR", help="A finished build, for its clock.")] = None,
            device: DeviceName = "sim", board: Board = None, config: ConfigFile = None, assignments: Assignments = None,
            memory_latency: Latency = 30, memory: Memory = "ideal", seed: Seed = 1, as_json: Json = False) -> None:
    """The same product on the accelerator, NumPy, PyTorch, CUDA and JAX, where present."""
    with console.guarded(as_json=as_json):
        from . import flow, products
        directory = build_directory if board is None and config is None and not assignments else None
        with flow.connect(device, board=board, config=config, directory=directory, assignments=assignments or (),
                          settings=_settings(seed, memory_latency, memory), progress=console.progress) as accelerator:
            rows = products.compare(m, n, k, seed=seed, accelerator=accelerator, build=build_directory, progress=console.progress)
    console.emit(rows, as_json=as_json, show=lambda: console.table(rows, ["backend", "seconds", "gops", "how", "reason"]))


@app.command()
def run(model: ModelFile,
        inputs: Annotated[list[Path] | None, typer.Option("--input", metavar="X.npy", help="Input, one for each that the model has; "
                                                                                          "random data where none is given.")] = None,
        output: Annotated[Path | None, typer.Option("--output", metavar="Y.npy", help="Write the output.")] = None,
        device: DeviceName = "sim", directory: GeneratedFolder = None, board: Board = None, config: ConfigFile = None,
        assignments: Assignments = None, memory_latency: Latency = 30, memory: Memory = "ideal", seed: Seed = 1,
        timeline: Annotated[Path | None, typer.Option("--timeline", metavar="FILE.svg", help="Draw what the engines did.")] = None,
        calibration: Calibration = None, as_json: Json = False) -> None:
    """Run a quantised network, a .tflite or .onnx file, and report each layer."""
    with console.guarded(as_json=as_json):
        from .networks import run_model
        result = run_model(model, inputs or [], output, device=device, settings=_settings(seed, memory_latency, memory),
                           timeline=timeline, calibration=calibration or (), progress=console.progress, directory=directory, board=board,
                           config=config, assignments=assignments or ())
    console.emit(result, as_json=as_json, show=lambda: show.show_run(result))


@app.command(name="compile")
def compile_network(model: ModelFile,
                    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
                    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Inputs in one run.")] = 1,
                    directory: GeneratedFolder = None, board: Board = None, config: ConfigFile = None, assignments: Assignments = None,
                    memory_latency: Latency = 30, memory: Memory = "ideal", seed: Seed = 1, calibration: Calibration = None,
                    as_json: Json = False) -> None:
    """Write a quantised network's program, constants and memory map, for the C driver."""
    with console.guarded(as_json=as_json):
        from .networks import compile_model
        result = compile_model(model, output, batch=batch, directory=directory, board=board, config=config, assignments=assignments or (),
                               settings=_settings(seed, memory_latency, memory), calibration=calibration or (), progress=console.progress)
    console.emit(result, as_json=as_json, show=lambda: show.show_compiled(result))


@app.command()
def demo(output: Output = None, board: Board = "ulx3s-85f", seed: Seed = 1,
         bitstream: Annotated[bool, typer.Option(help="Also place and route a bitstream: several minutes.")] = True,
         as_json: Json = False) -> None:
    """The whole path: train and run a network, generate, verify, build and report."""
    with console.guarded(as_json=as_json):
        from .demo import run_demo
        result = run_demo(board=board or "ulx3s-85f", output=output or Path("build/demo"), seed=seed, bitstream=bitstream,
                          progress=console.progress)
    console.emit(result, as_json=as_json, show=lambda: show.show_demo(result))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs one command and exits with 0, 1 (it failed) or 2 (it was called wrongly)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="systolith", standalone_mode=False)
    except Exception as error:
        # Typer brings click along under changing names, so a usage error is known by what it can do.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        place = context.command_path if context is not None else "systolith"
        message = " ".join(error.format_message().split())
        console.fail(f"{message.rstrip('.')}; see: {place} --help", as_json="--json" in arguments)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
