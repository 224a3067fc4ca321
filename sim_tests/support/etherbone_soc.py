"""A SoC's Etherbone at 127.0.0.2 by LiteX's own packets, with a model behind, and datagrams that get lost or come twice."""

import random
import socket
import threading

import numpy as np
from litex.tools.remote.etherbone import EtherbonePacket, EtherboneRecord, EtherboneWrites
from systolith.arch.registers import REGISTER_BYTES, Control, offset_of

__all__ = ["CSR_CSV", "FAULTS", "MEMORY_BYTES", "Soc"]

REGISTERS, RAM, REST = 0x8000_0000, 0x4000_0000, 0xE000_0000
MEMORY_BYTES = 1 << 14
CSR_CSV = (f"memory_region,main_ram,{RAM:#x},{MEMORY_BYTES},cached\nmemory_region,systolith,{REGISTERS:#x},{REGISTER_BYTES},io\n"
           "constant,config_csr_data_width,32,,\nconstant,config_bus_address_width,32,,\nconstant,config_clock_frequency,50000000,,\n")
FAULTS = ("request lost", "answer lost", "request twice", "answer twice")


class Soc:
    """Serves ``model``, a device with ``get`` and ``put`` for what else is in the SoC; ``rate`` of the datagrams meet one of
    ``kinds``, which ``faults`` counts. LiteEth without ``answers_writes`` answers nothing that writes and reads at once."""

    def __init__(self, port, model, *, seed, answers_writes=False, kinds=FAULTS):
        self.model, self.answers_writes, self.kinds = model, answers_writes, kinds
        self.rng, self.rate, self.faults, self.starts = random.Random(seed), 0.0, dict.fromkeys(FAULTS, 0), 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.2", port))
        self._socket.settimeout(0.05)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._stop.is_set():
            try:
                data, client = self._socket.recvfrom(8192)
            except TimeoutError:
                continue
            fault = self.rng.choice(self.kinds) if self.rng.random() < self.rate else None
            if fault:
                self.faults[fault] += 1
            for _ in range({"request lost": 0, "request twice": 2}.get(fault, 1)):
                answer = self._do(data)
                for _ in range({"answer lost": 0, "answer twice": 2}.get(fault, 1) if answer else 0):
                    self._socket.sendto(answer, client)

    def _do(self, data):
        packet = EtherbonePacket(32, data)
        packet.decode()
        record, = packet.records
        if record.wcount:
            for index, word in enumerate(record.writes.get_datas()):
                self._write(record.writes.base_addr + 4 * index, word)
        if not record.rcount or (record.wcount and not self.answers_writes):
            return None
        answer = EtherboneRecord(addr_size=4)
        number = int.from_bytes(record.reads.bytes[:4], "big")  # LiteX's decoder forgets it
        answer.writes = EtherboneWrites(addr_size=4, base_addr=number, datas=[self._read(address) for address in record.reads.get_addrs()])
        answer.wcount = len(answer.writes)
        packet = EtherbonePacket(32)
        packet.records = [answer]
        packet.encode()
        return packet.bytes

    def _write(self, address, word):
        if address >= REST:
            self.model.put(address, word)
        elif address >= REGISTERS:
            self.starts += address - REGISTERS == offset_of("CONTROL") and bool(word & Control.START)
            self.model.write_register(address - REGISTERS, word)
        else:
            self.model.write_memory(address - RAM, np.array([word], "<u4"))

    def _read(self, address):
        if address >= REST:
            return self.model.get(address)
        if address >= REGISTERS:
            return self.model.read_register(address - REGISTERS)
        return int(self.model.read_memory(address - RAM, 4).view("<u4")[0])


