"""LiteX's server in front of a serial port, as its users start it."""

import contextlib
import os
import select
import socket
import subprocess
import time

from systolith.gen import tools

__all__ = ["free_port", "litex_server"]


def free_port(kind=socket.SOCK_STREAM):
    with contextlib.closing(socket.socket(type=kind)) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def litex_server(terminal, baud=115200):
    """Its port, at which it listens already, with the line ``terminal`` behind it."""
    number = free_port()
    command = [tools.find("litex_server", extra="litex"), "--uart", "--uart-port", terminal, "--uart-baudrate", str(baud), "--bind-port",
               str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"}) as server:
        try:
            said = ""
            while "tcp port" not in said:
                assert server.poll() is None and select.select([server.stdout], [], [], 30)[0], said
                said += server.stdout.readline()
            for _ in range(100):  # the server says its port before it listens there
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("localhost", number)):
                    break
                time.sleep(0.05)
            yield number
        finally:
            server.kill()
