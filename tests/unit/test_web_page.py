"""The page at `/` escapes what it shows and loads nothing."""

import base64
import hashlib
import re

import pytest

from leakguard.core.forecast import TimeToLimit
from leakguard.core.status import LimitStatus, Status
from leakguard.testing.web import FakeBack, ask_wsgi, sample_status, worker
from leakguard.web.access import Access
from leakguard.web.app import WebApp

EVIL = "<script>alert('&\"')</script>"


def page(status: Status) -> str:
    """Give the page of a status."""
    app = WebApp(FakeBack(state=status), Access(trusted=True))
    return ask_wsgi(app, "GET", "/").body.decode()


def test_names_and_words_are_escaped() -> None:
    """Nothing that comes from a service or the machine is markup."""
    evil = worker(name=EVIL, last_decision=EVIL, paused=EVIL, cannot_act=(EVIL,), driver=EVIL)
    text = page(sample_status(host=EVIL, services=(evil,), store=EVIL, ready=False))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 7


def test_the_page_may_load_only_its_own_style() -> None:
    """The policy names the hash of the one inline style and forbids everything else."""
    answer = ask_wsgi(WebApp(FakeBack(), Access(trusted=True)), "GET", "/")
    found = re.search(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = hashlib.sha256(found.group(1).encode() if found else b"").digest()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert re.findall(r"(?:src|href)=", answer.body.decode()) == []


def test_a_row_has_the_numbers_with_their_units() -> None:
    """A service is shown with measure, limit, slope, time with range, and decision."""
    text = page(sample_status())
    for cell in (
        "812 MiB (auto)",
        "1.00 GiB (cgroup)",
        "21.0 MiB/h",
        "10h 5m (4h 40m to over 30d)",
    ):
        assert f">{cell}<" in text
    assert "hold (forecast): the window at 03:00 comes first" in text


def test_a_range_that_is_known_is_shown() -> None:
    """Both edges of the range are durations when both are foreseen."""
    times = TimeToLimit(p05_s=60.0, p50_s=120.0, p95_s=240.0)
    near = LimitStatus(kind="host", path="", limit_bytes=1, headroom_bytes=1, time_to_limit=times)
    assert "2m (1m to 4m)" in page(sample_status(services=(worker(nearest=near),)))


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (sample_status(ready=False, not_ready_because="no sample"), "Not ready: no sample"),
        (sample_status(ready=False), "Not ready: not known why"),
        (sample_status(store="disk full"), "State file: disk full"),
        (sample_status(config_ok=False), "The last reload was refused"),
    ],
)
def test_problems_stand_above_the_table(status: Status, problem: str) -> None:
    """What is wrong with the guard itself is said first."""
    assert problem in page(status)


def test_one_service_is_not_services() -> None:
    """The caption counts in English."""
    assert "1 service at " in page(sample_status(services=(worker(),)))


def test_a_bent_limit_is_shown() -> None:
    """Who looks at the page sees that the limit is not the usual one."""
    text = page(sample_status(services=(worker(bent="its limit is raised to 1.20 GiB"),)))
    assert "its limit is raised to 1.20 GiB; hold (forecast)" in text
