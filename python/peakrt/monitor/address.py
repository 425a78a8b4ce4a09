"""Where a monitor listens, and who may look."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from dataclasses import dataclass

#: Tried first where no port is given, and those after it where it is taken: so the address in a browser stays good.
FIRST_PORT, PORTS_TRIED = 8470, 30
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """host : name or number to bind to; port : None for the first free one of FIRST_PORT and those after it"""

    host: str = "127.0.0.1"
    port: int | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


def parse_address(text: str) -> Address:
    """Read ``[HOST:]PORT``; "" is the default. Raises ValueError for anything else."""
    if not text:
        return Address()
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or (colon and not host):
        raise ValueError(
            f"--monitor {text}: expected [HOST:]PORT with a port from 0 to 65535, such as 8470 or 0.0.0.0:8470"
        )
    return Address(host or "127.0.0.1", int(port))


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine's own loopback."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises OSError, naming the address, where it cannot."""
    ports = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if address.port is None else [address.port]
    for port in ports:
        try:
            family = socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((address.host, port), family=family, backlog=64)
        except OSError as error:
            problem = error
    text = (problem.strerror or str(problem)).partition(" (while")[0]
    advice = "; choose another port" if problem.errno == errno.EADDRINUSE else ""
    raise OSError(f"--monitor cannot listen at {address.host}:{ports[0]}: {text}{advice}") from problem


def make_token(address: Address) -> str:
    """What the URL must carry; "" on the loopback, which nobody else reaches."""
    return "" if address.is_loopback else secrets.token_urlsafe(16)


def url_of(server: socket.socket, address: Address, token: str) -> str:
    """What to open in a browser. An address that stands for all of the machine's is told by the machine's name."""
    host, port = address.host, server.getsockname()[1]
    if host in ("0.0.0.0", "::"):
        host = socket.getfqdn()
    elif ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")
