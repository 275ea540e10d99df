"""The machines that the tests of the lab look at: each plan is booted once, when it is needed."""

import os
from collections.abc import Callable

import pytest

from tests.vm import image, machine
from tests.vm.image import Images
from tests.vm.judge import kills
from tests.vm.machine import Boot
from tests.vm.table import table

SEED = int(os.environ.get("LG_TEST_VM_SEED") or "1")
BOOT_S = 420.0
BOOTED: dict[str, Boot] = {}

BootPlan = Callable[[str], Boot]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The images of the lab, with leakguard as it is in the checkout."""
    return image.make(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def booted(images: Images, tmp_path_factory: pytest.TempPathFactory) -> BootPlan:
    """Give the boot of a plan by its name."""

    def boot(plan: str) -> Boot:
        if plan not in BOOTED:
            folder = tmp_path_factory.mktemp(f"vm-{plan}")
            BOOTED[plan] = machine.boot(images, plan, seed=SEED, folder=folder, within_s=BOOT_S)
        return BOOTED[plan]

    return boot


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of all kills."""
    if BOOTED:
        terminalreporter.section(f"kills in the lab (seed {SEED})")
        if found := kills(BOOTED.values()):
            terminalreporter.write_line(table(found))
        for boot in BOOTED.values():
            terminalreporter.write_line(f"plan {boot.plan}: {boot.lasted_s:.0f} s")
