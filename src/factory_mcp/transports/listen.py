"""The port: bound on loopback only, and when it is taken, by whom."""

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from factory_mcp.domain.errors import InvalidSetting, NotLoopback, PortBusy


def listen(host: str, port: int) -> socket.socket:
    """Bind a loopback address.

    Raises:
        NotLoopback: The address can be reached from other machines.
        PortBusy: Naming who holds the port.
        InvalidSetting: The system refuses the address.
    """
    address = "127.0.0.1" if host == "localhost" else host.strip("[]")
    if not _is_loopback(address):
        raise NotLoopback(f"{host} can be reached from other machines, and there are no API keys")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(f"port {port} is held by {_holder(port)}") from error
        raise InvalidSetting(f"cannot listen on {host}:{port} ({error.strerror})") from error
    return listener


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _holder(port: int) -> str:
    """The process that listens on a TCP port, as far as the system tells."""
    links = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(descriptor.readlink()) in links:
                process = descriptor.parents[1]
                command = (process / "comm").read_text(encoding="utf-8").strip()
                return f"{command} (pid {process.name})"
    return "another program"


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                is_listening = fields[3] == "0A"
                if is_listening and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
