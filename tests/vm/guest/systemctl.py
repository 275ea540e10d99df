"""Units of the lab, and what systemd and its journal say of them."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

UNITS = Path("/etc/systemd/system")
LEAK = "/lab/tests/workloads/leak.py"
ASK_S = 60.0
POLL_S = 0.5
SHOWN = ("MainPID", "NRestarts", "ActiveState", "InvocationID", "MemoryHigh", "MemoryMax")

State = dict[str, str]


def write_unit(name: str, options: str, more: str = "") -> None:
    """Write a unit that holds or leaks memory below a MemoryMax; `more` lines come last."""
    text = (
        "[Service]\n"
        f"ExecStart=/usr/bin/python3 -S {LEAK} --steady --life 3600 {options}\n"
        f"Restart=always\nMemoryMax=96M\nMemorySwapMax=0\n{more}\n"
    )
    (UNITS / name).write_text(text, "ascii")


@contextmanager
def installed(units: Mapping[str, str], more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have units by their options, some with more lines; they are stopped and gone at the end."""
    with ExitStack() as stack:
        for name, options in units.items():
            write_unit(name, options, (more or {}).get(name, ""))
            stack.callback((UNITS / name).unlink)
        run("daemon-reload")
        stack.callback(run, "stop", *units)
        yield


def show(*names: str, shown: tuple[str, ...] = SHOWN) -> dict[str, State]:
    """Give properties of units."""
    found = {}
    for name in names:
        said = run("show", f"--property={','.join(shown)}", name)
        found[name] = dict(line.partition("=")[::2] for line in said.splitlines())
    return found


def run(*words: str) -> str:
    """Run systemctl; its failure is an error with the journal's last words in it."""
    code, said = tried("systemctl", *words)
    if code != 0:
        raise AssertionError(f"systemctl {' '.join(words)}: {code}\n{said}\n{journal('')[-4000:]}")
    return said


def tried(*argv: str) -> tuple[int, str]:
    """Run a command; give its exit code, and what it said on both ways."""
    done = subprocess.run(
        argv,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ASK_S,
    )
    return done.returncode, done.stdout.strip()


def journal(unit: str) -> str:
    """Read what a unit said and what systemd said of it; everything for no unit."""
    of = [f"--unit={unit}"] if unit else []
    return tried("journalctl", "--no-pager", "--output=cat", "--quiet", *of)[1]


def wait_for(holds: Callable[[], bool], within_s: float) -> bool:
    """Ask until it holds."""
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True
