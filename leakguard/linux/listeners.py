"""Who listens on a TCP port of this machine, as far as this user may see it."""

import ipaddress

import psutil

from leakguard.core.errors import ReadingError
from leakguard.linux.procfs import ProcFs

ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared with, never bound


def listener_of(proc: ProcFs, host: str, port: int) -> tuple[int, str] | None:
    """Give pid and name of the process that listens on `host:port`; None when it is not seen."""
    psutil.PROCFS_PATH = proc.root
    try:
        found = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    for one in found:
        if one.status != psutil.CONN_LISTEN or not one.laddr or one.pid is None:
            continue
        if one.laddr.port == port and _meets(one.laddr.ip, host):
            return one.pid, _name(proc, one.pid)
    return None


def _meets(held: str, wanted: str) -> bool:
    """Tell whether two addresses stand in each other's way."""
    return held == wanted or held in ANY or wanted in ANY or not _is_address(wanted)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False  # a name such as localhost: any of its addresses may be meant
    return True


def _name(proc: ProcFs, pid: int) -> str:
    try:
        return proc.stat(pid).name
    except ReadingError:  # it ended since
        return ""
