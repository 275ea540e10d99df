"""A back-test on a terminal shows how far it is, and nothing of that reaches stdout or a pipe."""

import os
import pty
import subprocess
import sys
from pathlib import Path

ROWS = "".join(f"worker,{60 * i},{100 + i}\n" for i in range(1500))
COMMAND = [sys.executable, "-m", "leakguard", "backtest", "w.csv", "--unit", "MiB", "--json"]


def read_all(descriptor: int) -> str:
    """Read what a terminal was sent, until nobody holds its other end."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65_536)
        except OSError:  # how a terminal says that it was left
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


def test_progress_is_for_terminals_only(tmp_path: Path) -> None:
    """The same data on stdout; stderr has a bar on a terminal, and is empty in a pipe."""
    (tmp_path / "w.csv").write_text(ROWS)
    main, other = pty.openpty()
    with subprocess.Popen(
        COMMAND, cwd=tmp_path, stdout=subprocess.PIPE, stderr=other,
        env={**os.environ, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(other)
        shown = read_all(main)
        assert process.stdout is not None
        data = process.stdout.read()
    os.close(main)
    piped = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert "playing" in shown
    assert (piped.stdout, piped.stderr) == (data, b"")
