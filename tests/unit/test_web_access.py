"""Who may ask what over which listener: one case a cell of the table."""

import pytest

from leakguard.core.units import Secret
from leakguard.testing.web import FakeBack, ask_wsgi
from leakguard.web.access import Access, host_name
from leakguard.web.app import WebApp

TOKEN = "s3cret"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
WRONG = {"Authorization": "Bearer guess"}
NONE: dict[str, str] = {}
RESTART = "/api/v1/services/worker/restart"

UNIX = Access(trusted=True)
LOCAL = Access(loopback=True)
LOCAL_TOKEN = Access(loopback=True, token=Secret(TOKEN))
LOCAL_OPEN = Access(loopback=True, allow_no_token=True)
WIDE = Access(loopback=False)
WIDE_TOKEN = Access(loopback=False, token=Secret(TOKEN))
WIDE_METRICS = Access(loopback=False, token=Secret(TOKEN), open_metrics=True)
WIDE_OPEN = Access(loopback=False, allow_no_token=True)
WIDE_BOTH = Access(loopback=False, token=Secret(TOKEN), allow_no_token=True)

TABLE = [
    # listener, method, path, headers, status
    (UNIX, "GET", "/api/v1/status", NONE, 200),
    (UNIX, "POST", RESTART, NONE, 200),
    (LOCAL, "GET", "/api/v1/status", NONE, 200),
    (LOCAL, "GET", "/metrics", NONE, 200),
    (LOCAL, "POST", RESTART, NONE, 403),
    (LOCAL, "POST", RESTART, RIGHT, 403),
    (LOCAL_TOKEN, "GET", "/", NONE, 200),
    (LOCAL_TOKEN, "POST", RESTART, NONE, 401),
    (LOCAL_TOKEN, "POST", RESTART, WRONG, 401),
    (LOCAL_TOKEN, "POST", RESTART, RIGHT, 200),
    (LOCAL_TOKEN, "POST", RESTART, {"Authorization": f"bearer {TOKEN}"}, 200),
    (LOCAL_TOKEN, "POST", RESTART, {"Authorization": f"Basic {TOKEN}"}, 401),
    (LOCAL_TOKEN, "POST", RESTART, {"Authorization": "Bearer"}, 401),
    (LOCAL_TOKEN, "POST", RESTART, {"Authorization": "Bearer s3cr\xe9t"}, 401),
    (LOCAL_OPEN, "POST", RESTART, NONE, 200),
    (WIDE, "GET", "/healthz", NONE, 200),
    (WIDE, "GET", "/readyz", NONE, 200),
    (WIDE, "GET", "/metrics", NONE, 403),
    (WIDE, "GET", "/", NONE, 403),
    (WIDE, "POST", RESTART, NONE, 403),
    (WIDE_TOKEN, "GET", "/healthz", NONE, 200),
    (WIDE_TOKEN, "GET", "/metrics", NONE, 401),
    (WIDE_TOKEN, "GET", "/metrics", RIGHT, 200),
    (WIDE_TOKEN, "GET", "/", NONE, 401),
    (WIDE_TOKEN, "GET", "/api/v1/events", NONE, 401),
    (WIDE_TOKEN, "GET", "/api/v1/events", RIGHT, 200),
    (WIDE_TOKEN, "GET", "/no/such/page", NONE, 401),
    (WIDE_TOKEN, "POST", "/healthz", NONE, 401),
    (WIDE_TOKEN, "POST", RESTART, RIGHT, 200),
    (WIDE_METRICS, "GET", "/metrics", NONE, 200),
    (WIDE_METRICS, "HEAD", "/metrics", NONE, 200),
    (WIDE_METRICS, "POST", "/metrics", NONE, 401),
    (WIDE_METRICS, "GET", "/api/v1/status", NONE, 401),
    (WIDE_OPEN, "GET", "/api/v1/status", NONE, 200),
    (WIDE_OPEN, "POST", RESTART, NONE, 200),
    (WIDE_BOTH, "GET", "/api/v1/status", NONE, 401),
    (WIDE_BOTH, "POST", RESTART, NONE, 401),
    (WIDE_BOTH, "POST", RESTART, RIGHT, 200),
]


@pytest.mark.parametrize(("access", "method", "path", "headers", "status"), TABLE)
def test_access_table(
    access: Access, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Listener, method, path and token together give this status and no other."""
    answer = ask_wsgi(WebApp(FakeBack(), access), method, path, headers=headers)
    assert answer.status == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9847", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("127.0.0.1:9847", 200),
        ("[::1]:9847", 200),
        ("192.0.2.7:9847", 200),
        ("guard.example", 200),
        ("attacker.example:9847", 403),
        ("127.0.0.1.attacker.example", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_a_rebound_name_is_refused(host: str, status: int) -> None:
    """Only addresses, localhost and the listener's own name pass as Host on loopback."""
    app = WebApp(FakeBack(), Access(host="guard.example"))
    assert ask_wsgi(app, "GET", "/api/v1/status", headers={"Host": host}).status == status


@pytest.mark.parametrize(
    ("access", "path", "headers", "status"),
    [
        (WIDE_TOKEN, "/api/v1/status", RIGHT, 200),
        (WIDE_TOKEN, "/api/v1/status", NONE, 403),
        (WIDE_TOKEN, "/healthz", NONE, 200),
        (WIDE_METRICS, "/metrics", NONE, 200),
        (WIDE_OPEN, "/api/v1/status", NONE, 403),
        (LOCAL, "/healthz", NONE, 403),
        (UNIX, "/api/v1/status", NONE, 200),
    ],
)
def test_unknown_names_need_the_token(
    access: Access, path: str, headers: dict[str, str], status: int
) -> None:
    """A name that is not ours passes with the token, on freed pages and on the unix socket."""
    app = WebApp(FakeBack(), access)
    answer = ask_wsgi(app, "GET", path, headers={**headers, "Host": "guard.svc:9847"})
    assert answer.status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:9847", 200), ("http://attacker.example", 403), ("null", 403)],
)
def test_another_origin_changes_nothing(origin: str, status: int) -> None:
    """A POST from a page of another origin is refused even where no token is needed."""
    app = WebApp(FakeBack(), LOCAL_OPEN)
    assert ask_wsgi(app, "POST", RESTART, headers={"Origin": origin}).status == status


def test_a_refusal_names_the_way_in() -> None:
    """401 says which header is missing, and 403 which setting."""
    missing = ask_wsgi(WebApp(FakeBack(), LOCAL_TOKEN), "POST", RESTART)
    unset = ask_wsgi(WebApp(FakeBack(), LOCAL), "POST", RESTART)
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="leakguard"'
    assert b"http.token_file" in missing.body
    assert b"http.token_file" in unset.body


def test_a_refused_request_reaches_nobody() -> None:
    """Without the token, the engine is not asked."""
    back = FakeBack()
    ask_wsgi(WebApp(back, LOCAL_TOKEN), "POST", RESTART, headers=WRONG)
    assert back.asked == []


@pytest.mark.parametrize(
    ("header", "name"),
    [("A.Example:80", "a.example"), ("[2001:db8::1]:80", "2001:db8::1"), ("x:y:z]", "")],
)
def test_host_name(header: str, name: str) -> None:
    """Port, brackets and capitals do not belong to the name."""
    assert host_name(header) == name
