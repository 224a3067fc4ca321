"""What all devices share, on the model device: identity, registers, memory."""

import numpy as np
import pytest
from systolith.arch.commands import Execute, Load, pack
from systolith.arch.hazards import HazardError
from systolith.arch.manifest import MANIFEST_NAME, Manifest, ManifestError
from systolith.arch.registers import MAGIC, REGISTERS, Control, ErrorCode, State, Status, offset_of
from systolith.arch.settings import resolve
from systolith.host.accelerator import Accelerator
from systolith.host.device import Device, DeviceMismatch, DeviceTimeout, check_identity, describe_activity
from systolith.host.model_device import ModelDevice

MANIFEST = Manifest(config=resolve({"array": {"rows": 3, "cols": 5}}), hash="0123456789abcdef" + "0" * 48)


def test_identity_registers():
    device = ModelDevice(MANIFEST)
    check_identity(device, MANIFEST)
    values = {register.name: device.read_register(register.offset) for register in REGISTERS}
    assert values["MAGIC"] == MAGIC
    assert (values["HASH_HI"], values["HASH_LO"]) == (0x01234567, 0x89ABCDEF)
    assert values["ARRAY"] == 3 | 5 << 16
    assert values["STATUS"] == State.IDLE


@pytest.mark.parametrize("other, message", [
    ({"hash": "f" * 64}, "the device is not the accelerator in the manifest: HASH_LO must be 0xffffffff, not 0x89abcdef; "
                         "load the bitstream that was built from this folder"),
    ({"config": resolve({"array": {"rows": 3, "cols": 4}})}, "the device is not the accelerator in the manifest: ARRAY must be 0x00040003, "
                                                             "not 0x00050003; load the bitstream that was built from this folder"),
])
def test_mismatch_is_refused(other, message):
    manifest = Manifest(**{"config": MANIFEST.config, "hash": MANIFEST.hash, **other})
    with pytest.raises(DeviceMismatch) as caught:
        Accelerator(ModelDevice(MANIFEST), manifest)
    assert str(caught.value) == message


def test_silent_device_is_refused():
    device = ModelDevice(MANIFEST)
    device.read_register = lambda offset: 0xFFFFFFFF
    with pytest.raises(DeviceMismatch, match="no accelerator answers: register MAGIC must be 0x53595354, not 0xffffffff"):
        check_identity(device, MANIFEST)


def test_read_only_registers_stay():
    device = ModelDevice(MANIFEST)
    for register in REGISTERS:
        if register.access == "ro":
            before = device.read_register(register.offset)
            device.write_register(register.offset, 0x12345678)
            assert device.read_register(register.offset) == before
    device.write_register(offset_of("BASE3_HI"), 0x12345678)
    assert device.read_register(offset_of("BASE3_HI")) == 0x12345678


def test_memory():
    data = np.arange(12, dtype=np.int32).reshape(3, 4)
    with ModelDevice(MANIFEST, memory_bytes=64) as device:
        device.write_memory(8, data.T)
        assert np.array_equal(device.read_memory(8, 48).view(np.int32), data.T.ravel())
        for address, count in ((-1, 1), (60, 5), (0, -1)):
            with pytest.raises(ValueError, match=f"memory access must lie in 0 … 64, not {address} … {address + count}"):
                device.read_memory(address, count)


def start(device, program):
    words = pack(program)
    device.write_memory(0, words)
    for name, value in {"SIZE0_LO": 4 * words.size, "SIZE1_LO": 64, "PROGRAM_WORDS": words.size}.items():
        device.write_register(offset_of(name), value)
    device.write_register(offset_of("CONTROL"), Control.START)


def test_errors_show_in_registers():
    device = ModelDevice(MANIFEST)
    start(device, [Load(base=1, run=3), Load(base=1, offset=62, run=3)])
    names = ["STATUS", "ERROR_CODE", "ERROR_ENGINE", "ERROR_COMMAND", "ERROR_ADDRESS_LO"]
    assert [device.read_register(offset_of(name)) for name in names] == [State.ERROR | Status.IRQ, ErrorCode.ADDRESS, 1, 1, 62]
    device.write_register(offset_of("CONTROL"), Control.RESET)
    assert device.read_register(offset_of("STATUS")) == State.IDLE


def test_hazards_are_raised_unless_told_otherwise():
    program = [Load(base=1, run=3), Execute(k_last=3)]  # no token between them
    with pytest.raises(HazardError, match="the program's result depends on timing: "):
        start(ModelDevice(MANIFEST), program)
    device = ModelDevice(MANIFEST, strict=False)
    start(device, program)
    assert device.hazards and device.read_register(offset_of("STATUS")) == State.DONE | Status.IRQ


class Running(Device):
    """A device whose program never ends."""
    memory_bytes = 0

    def read_register(self, offset):
        return State.RUNNING

    def write_register(self, offset, value): ...

    def read_memory(self, address, count): ...

    def write_memory(self, address, data): ...


def test_timeout():
    with pytest.raises(DeviceTimeout, match=r"the program has not ended after 0\.01 s"):
        Running().wait(timeout_s=0.01)


def test_activity_in_words():
    assert describe_activity(0b011_100_010) == "LOAD wait_execute, EXECUTE preload, STORE wait_execute"


def test_manifest_round_trip(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json(), encoding="utf-8")
    assert Manifest.read(tmp_path) == MANIFEST


@pytest.mark.parametrize("text, message", [
    (None, "has no readable manifest.json"),
    ("{", "is not a manifest: JSONDecodeError"),
    ("{}", "is not a manifest: KeyError 'schema'"),
    (MANIFEST.to_json().replace('"schema": 1', '"schema": 9'), "schema must be 1, not 9; generate again with this version"),
    (MANIFEST.to_json().replace('"rows"', '"rose"'), "unknown configuration key 'array.rose'; did you mean 'rows'?"),
])
def test_bad_manifest(tmp_path, text, message):
    if text is not None:
        (tmp_path / MANIFEST_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        Manifest.read(tmp_path)
    assert message in str(caught.value)
