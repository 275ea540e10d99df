"""What an account may do to units: the driver rehearses and restarts them in its name."""

import json
import pwd
import subprocess
import sys

from leakguard.core.errors import LeakguardError
from tests.vm.guest import units
from tests.vm.guest.systemctl import ASK_S

ASK = "import sys; from tests.vm.guest import rights; rights.report(*sys.argv[1:])"
BUS, COMMAND = "bus", "command"
"""By D-Bus, or by systemctl where there is no jeepney."""


def ask_as(account: str, way: str, *names: str) -> dict[str, str]:
    """Give what comes of restarting units as `account`."""
    found = pwd.getpwnam(account)
    done = subprocess.run(
        [sys.executable, "-c", ASK, way, *names],
        user=found.pw_uid,
        group=found.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=3 * ASK_S,
    )
    return dict(json.loads(done.stdout))


def report(way: str, *names: str) -> None:
    """Print what comes of each unit, as JSON. Run as the account."""
    if way == COMMAND:
        sys.modules["jeepney"] = None  # type: ignore[assignment]  # as if it was not installed
    print(json.dumps({name: _restart(name) for name in names}))  # noqa: T201  read by `ask_as`


def _restart(name: str) -> str:
    driver = units.driver(name)
    problems = "; ".join(driver.rehearse(None))
    try:
        driver.restart(units.order())
    except LeakguardError as error:
        return f"rehearsed: {problems} | refused: {error}"
    return f"rehearsed: {problems} | done"
