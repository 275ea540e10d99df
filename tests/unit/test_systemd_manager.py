"""Which manager of systemd is spoken with where nobody says."""

from pathlib import Path

import pytest

from leakguard.linux.children import Children, run_here
from leakguard.linux.systemd_manager import Manager
from leakguard.testing.clock import FakeClock


def test_a_runtime_folder_that_is_hidden_has_no_manager(
    hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ProtectHome=yes` of a unit hides `/run/user`, too: the system's manager is meant."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(hidden))
    assert Manager(Children(run_here, FakeClock())).user is False
