"""`leakguard exec` keeps the kernel from killing inside the cgroup that it shares with a leak."""

import pytest

from tests.bench.exec_oom import ENDED_BY_TERM, measure


@pytest.mark.root
@pytest.mark.parametrize("rate_mb_s", [12.0, 40.0])
def test_the_kernel_kills_nothing(rate_mb_s: float) -> None:
    """A command that fills 256 MiB again and again is restarted before that, twice at least."""
    run = measure(rate_mb_s, f"test-{rate_mb_s:.0f}", restarts=2, limit_s=90.0)
    assert (run.oom_kills, run.restarts >= 2, run.failed) == (0, True, 0)
    assert (run.exit_code, run.talk) == (ENDED_BY_TERM, "")
