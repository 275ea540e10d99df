"""Open the sockets that the web server listens on, and say what to do when that fails."""

import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path

from leakguard.core.errors import ConfigError, DaemonError, PermissionRefused

SOCKET_MODE = 0o600
PROBE_TIMEOUT_S = 1.0
LONGEST_UNIX_PATH = 107
BACKLOG = 128


def tcp(listen: str) -> socket.socket:
    """Bind `host:port` (`[::1]:port`, `localhost:port`); port 0 takes a free one.

    Raises:
        ConfigError: `listen` cannot be read, or its name is not known.
        PermissionRefused: the port needs a right that is missing.
        DaemonError: the address is in use.
    """
    host, port = split(listen)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"http.listen: {host!r} is not an address here: {error}") from error
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # two may bind one address; the second to listen is refused
    except OSError as error:
        listener.close()
        raise _tcp_error(listen, error) from error
    return listener


def split(listen: str) -> tuple[str, int]:
    """Read `host:port`; brackets round an IPv6 address are taken off."""
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"http.listen: {listen!r} is not host:port, such as 127.0.0.1:9847")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(listener: socket.socket) -> bool:
    """Tell whether only this machine can connect."""
    host = str(listener.getsockname()[0])
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def unix(path: str) -> socket.socket:
    """Bind the control socket with mode 0600; a socket that nobody answers on is replaced.

    Raises:
        DaemonError: another daemon answers there, or the path cannot be a socket.
        PermissionRefused: the directory cannot be written.
    """
    if len(os.fsencode(path)) > LONGEST_UNIX_PATH:
        raise DaemonError(
            f"the socket path {path} is longer than {LONGEST_UNIX_PATH} bytes: use a shorter one"
        )
    try:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _make_room(path)
        return _bind_unix(path)
    except PermissionError as error:
        raise PermissionRefused(
            f"not allowed to make the socket {path}: use a directory that this user may write"
        ) from error
    except OSError as error:
        raise DaemonError(
            f"cannot make the socket {path}: {error.strerror or error}: use another path"
        ) from error


def remove(path: str, inode: int) -> None:
    """Remove the socket file at the end, unless another daemon has put its own there."""
    try:
        if Path(path).stat().st_ino == inode:
            Path(path).unlink()
    except OSError:
        return  # gone already, or no longer ours to remove


def _bind_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux makes the file with the mode of the unbound socket, so it is never open to others.
        os.fchmod(listener.fileno(), SOCKET_MODE)
        listener.bind(path)
        Path(path).chmod(SOCKET_MODE)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _make_room(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise DaemonError(f"{path} is there and is no socket: move it away or use another path")
    if _answers(path):
        raise DaemonError(
            f"another daemon answers on {path}: stop it, or give this one another socket"
        )
    Path(path).unlink()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # its queue is full, or it is not ours to ask: somebody holds it
    return True


def _tcp_error(listen: str, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return DaemonError(
            f"{listen} is in use: stop what listens there, or set http.listen to another port "
            "(or to `off` for none)"
        )
    if error.errno == errno.EACCES:
        return PermissionRefused(
            f"not allowed to listen on {listen}: use a port above 1023 in http.listen"
        )
    return ConfigError(f"http.listen: cannot listen on {listen}: {error.strerror or error}")
