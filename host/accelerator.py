"""The driver: programs and matrix products on any device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..arch.assembler import format_command
from ..arch.commands import COMMANDS, Engine, Opcode, ProgramError, unpack
from ..arch.manifest import Manifest
from ..arch.plan_gemm import GemmPlan
from ..arch.registers import BASES, ERROR_HELP, STALLS, Control, ErrorCode, State, Status, offset_of
from .device import Device, DeviceError, check_identity
from .matmul import MatmulJob, Requantise, RequantiseInt16

__all__ = ["Accelerator", "CounterError", "ProgramFailed", "Requantise", "RequantiseInt16"]


_WAITED_FOR = {Engine.FETCH: "words of the program", Engine.LOAD: "data that it reads", Engine.STORE: "the end of its writes"}


class ProgramFailed(RuntimeError):
    """A program ended with an error.

    ``code``, ``engine``, ``command`` (its index among those of that engine, or among all for FETCH), ``address`` are what the
    error registers show; ``text`` is the command in assembly language, if there is one. Of a queue, ``program`` is the number of
    the one that failed, and ``dropped`` how many behind it do not run.
    """

    def __init__(self, code: ErrorCode, engine: Engine, command: int, address: int, text: str | None, *,
                 program: int | None = None, dropped: int = 0):
        self.code, self.engine, self.command, self.address, self.text = code, engine, command, address, text
        self.program, self.dropped = program, dropped
        where = f" at address 0x{address:x}" if code in (ErrorCode.ADDRESS, ErrorCode.BUS) else ""
        if code is ErrorCode.TIMEOUT:
            where = f", which waited for {_WAITED_FOR[engine]}"
        what = f": {text}" if text else ""
        which = "" if program is None else f"program {program} of the queue ({dropped} behind it do not run): "
        super().__init__(f"{which}{code.name} in {engine.name} command {command}{where} ({ERROR_HELP[code]}){what}")


class CounterError(DeviceError):
    """The counters of a device contradict each other."""


def _command_text(words: npt.NDArray[np.uint32], engine: Engine, command: int) -> str | None:
    """Assembly of an engine's ``command``-th command, or among all for FETCH; None where the words before it are not a program."""
    position = index = 0
    while position < len(words):
        kind = COMMANDS.get(Opcode(int(words[position]) & 15)) if int(words[position]) & 15 in COMMANDS else None
        if kind is None:
            return None
        if engine in (Engine.FETCH, Engine(int(kind.opcode))):
            if index == command:
                with contextlib.suppress(ProgramError):
                    return format_command(unpack(words[position:position + kind.words])[0])
                return None
            index += 1
        position += kind.words
    return None


def accumulate(total: dict[str, Any], counters: dict[str, Any]) -> None:
    """Add ``counters`` to ``total``, table by table."""
    for name, value in counters.items():
        if isinstance(value, dict):
            accumulate(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


class Accelerator:
    """Runs programs and matrix products on a device that shows the identity of ``manifest``. A context manager.

    Parameters
    ----------
    device : simulated, modelled or real; closed with the accelerator
    manifest : of the folder that the device was built from
    timeout_s : limit for one program on the wall clock, by default the device's
    notify : receives one line where work had to be split

    Attributes
    ----------
    counters : of the last call: ``bytes_read``, ``bytes_written``, ``commands`` and, where the device has a clock, ``cycles`` and
        ``stalls`` {engine: {cause: cycles}}, whose causes (busy included) add up to ``cycles`` for every engine
    plans, bases : of the last product, for each program: the plan, and addresses in base registers

    Raises
    ------
    DeviceMismatch
        The device is another accelerator.
    """

    def __init__(self, device: Device, manifest: Manifest, *, timeout_s: float | None = None,
                 notify: Callable[[str], None] | None = None):
        check_identity(device, manifest)
        self.device = device
        self.manifest = manifest
        self.config = manifest.config
        self.timeout_s = timeout_s
        self.counters: dict[str, Any] = {}
        self.plans: list[GemmPlan] = []
        self.bases: list[tuple[int, ...]] = []
        self._notify = notify or (lambda line: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the device."""
        self.device.close()

    def run(self, words: npt.NDArray[np.uint32], *, bases: Sequence[int], sizes: Sequence[int]) -> dict[str, Any]:
        """Write the program to ``bases[0]``, run it to its end and return its counters.

        Parameters
        ----------
        words : the program, uint32
        bases, sizes : addresses and limits in bytes of the base registers, the first for the program; those left out are closed

        Raises
        ------
        ProgramFailed
            The program ended with an error.
        DeviceTimeout
            It did not end.
        """
        self.write_bases(bases, sizes)
        self.write_program(words, bases=bases, sizes=sizes)
        self.write("CONTROL", Control.START)
        self.device.wait(self.timeout_s)
        status = self.read("STATUS")
        state = State(status & 3)
        if status & Status.START_REFUSED:
            why = "the memory owes answers to the one before; reset both" if status & Status.BUS_OWED else \
                "another one was running; is another host using it?"
            raise DeviceError(f"the device refused to start the program: {why}")
        self.read_counters()
        if state is State.ERROR:
            raise self.failure(words)
        if state is not State.DONE:
            raise DeviceError(f"the program was started and the device is {state.name}; is another host using it?")
        return self.counters

    def write_bases(self, bases: Sequence[int], sizes: Sequence[int]) -> None:
        """Set the base registers: addresses and limits in bytes; those left out are closed."""
        if len(bases) != len(sizes) or not 1 <= len(bases) <= BASES:
            raise ValueError(f"bases and sizes must be alike and from 1 to {BASES}, not {len(bases)} and {len(sizes)}")
        for index in range(BASES):
            base, size = (bases[index], sizes[index]) if index < len(bases) else (0, 0)
            self._write_pair(f"BASE{index}", base)
            self._write_pair(f"SIZE{index}", size)

    def write_program(self, words: npt.NDArray[np.uint32], *, bases: Sequence[int], sizes: Sequence[int]) -> None:
        """Put the program at ``bases[0]`` and set the registers that say where it is."""
        words = np.ascontiguousarray(words, np.uint32)
        if 4 * words.size > sizes[0]:
            raise ValueError(f"the program's {4 * words.size} bytes must lie within size 0, not {sizes[0]}")
        self.device.write_memory(bases[0], words)
        self.write("PROGRAM_OFFSET", 0)
        self.write("PROGRAM_WORDS", words.size)

    def failure(self, words: npt.NDArray[np.uint32] | None, *, program: int | None = None, dropped: int = 0) -> ProgramFailed:
        """What the error registers show of the program ``words``."""
        engine, command = Engine(self.read("ERROR_ENGINE")), self.read("ERROR_COMMAND")
        text = None if words is None else _command_text(np.ascontiguousarray(words, np.uint32), engine, command)
        return ProgramFailed(ErrorCode(self.read("ERROR_CODE")), engine, command, self._read_pair("ERROR_ADDRESS"), text,
                             program=program, dropped=dropped)

    def read(self, name: str) -> int:
        """The register called ``name``."""
        return self.device.read_register(offset_of(name))

    def write(self, name: str, value: int) -> None:
        """Set the register called ``name``."""
        self.device.write_register(offset_of(name), value)

    def read_counters(self) -> dict[str, Any]:
        """Read ``counters`` of the program that ended last."""
        names = ["BYTES_READ", "BYTES_WRITTEN", "COMMANDS"]
        if self.device.counts_cycles:
            names += ["CYCLES"]
            if self.config.control.counter_bits:
                names += [f"{engine.name}_{cause.upper()}" for engine, causes in STALLS.items() for cause in causes]
        values = dict(zip(names, self.device.read_registers([offset_of(name) for name in names]), strict=True))
        counters: dict[str, Any] = {name: values[name.upper()] for name in ("bytes_read", "bytes_written", "commands")}
        if self.device.counts_cycles:
            counters["cycles"] = cycles = values["CYCLES"]
            if self.config.control.counter_bits:
                counters["stalls"] = stalls = {
                    engine.name.lower(): {cause: values[f"{engine.name}_{cause.upper()}"] for cause in causes}
                    for engine, causes in STALLS.items()}
                self._check_sums(cycles, stalls)
        self.counters = counters
        return counters

    def matmul(self, a: npt.NDArray[Any], w: npt.NDArray[np.int8], bias: npt.NDArray[np.int32] | None = None,
               requantise: Requantise | RequantiseInt16 | None = None) -> npt.NDArray[Any]:
        """A·W (+ bias): int32 of shape (M, N), wrapping, or the type of A with ``requantise``. Operands go to the device as they lie.

        Work that does not fit the device memory is done in parts, of which ``notify`` is told; ``counters`` are of all parts
        together, with ``programs``, ``macs``, ``macs_issued`` and ``host_bytes_rearranged`` besides.

        Parameters
        ----------
        a : int8, or int16 where ``array.activations`` is "int16", shape (M, K)
        w : int8, shape (K, N); from −8 to 7 where ``array.weights`` is "int4"
        bias : int32, shape (N,)
        requantise : a :class:`Requantise`, or a :class:`RequantiseInt16` where A is int16

        Raises
        ------
        TypeError, ValueError
            An operand has another type or shape, a weight is too large, or sums to be requantised to int16 may be.
        PlanError
            K is too long for the device memory.
        """
        product = MatmulJob(self.config, a, w, bias, requantise)
        parts = product.parts(self.device.memory_bytes)
        if len(parts) > 1:
            self._notify(f"{product} does not fit {self.device.memory_bytes} bytes of device memory: done in {len(parts)} programs")
        total: dict[str, Any] = {}
        self.plans, self.bases = [], []
        for part in parts:
            plan, addresses = product.plan(part)
            for address, data in product.operands(part, addresses):
                self.device.write_memory(address, data)
            windows = {region.base: (addresses[name], region.bytes) for name, region in plan.regions.items()}
            bases, sizes = zip(*(windows.get(index, (0, 0)) for index in range(max(windows) + 1)), strict=True)
            accumulate(total, self.run(plan.words, bases=bases, sizes=sizes))
            product.store(part, self.device.read_memory(addresses["c"], plan.regions["c"].bytes))
            self.plans.append(plan)
            self.bases.append(bases)
        self.counters = total | {
            "programs": len(parts), "macs": sum(plan.gemm.macs for plan in self.plans),
            "macs_issued": sum(plan.macs_issued for plan in self.plans), "host_bytes_rearranged": product.bytes_rearranged}
        return product.result

    def _read_pair(self, name: str) -> int:
        return self.read(f"{name}_LO") | self.read(f"{name}_HI") << 32

    def _write_pair(self, name: str, value: int) -> None:
        self.write(f"{name}_LO", value & 0xFFFFFFFF)
        self.write(f"{name}_HI", value >> 32)

    def _check_sums(self, cycles: int, stalls: dict[str, dict[str, int]]) -> None:
        """Every engine was busy or stalled in every cycle, and nothing else: modulo the width of the counters."""
        modulus = 1 << min(32, self.config.control.counter_bits)
        for engine, causes in stalls.items():
            if (sum(causes.values()) - cycles) % modulus:
                raise CounterError(f"counters of {engine} must add up to {cycles} cycles, not {sum(causes.values())}")
