"""The store: what is committed comes back, in a file and in memory alike."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from leakguard.core.alerts import Alert
from leakguard.core.decision import RestartService
from leakguard.core.errors import StoreError
from leakguard.core.events import EventKind
from leakguard.core.policy import Trigger
from leakguard.core.sample import Measure
from leakguard.core.state import Flight, Pause, ServiceRecord
from leakguard.store import schema
from leakguard.store.base import DeliveryState, NewerSchema
from leakguard.store.loading import LEAP
from leakguard.store.memory import MemoryStore
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock
from leakguard.testing.notifiers import alert
from leakguard.testing.ticks import event, run_of, sample, tick

Make = Callable[[], SqliteStore]


@pytest.fixture(name="clock")
def a_clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(name="path")
def a_path(tmp_path: Path) -> str:
    """Where the state file will be."""
    return str(tmp_path / "state.db")


@pytest.fixture(name="store", params=["file", "memory"])
def a_store(request: pytest.FixtureRequest, path: str, clock: FakeClock) -> Iterator[SqliteStore]:
    """A store of either kind."""
    store = SqliteStore(path, clock) if request.param == "file" else MemoryStore(clock)
    yield store
    store.close()


def record(name: str = "worker") -> ServiceRecord:
    """A record with nested values in it."""
    now = FakeClock().now()
    return ServiceRecord(
        name=name,
        incarnation=run_of(),
        retry_at=now,
        flight=Flight(
            action_id="i-7",
            trigger=Trigger.FORECAST,
            reason="half a character: \udce9",
            began=now,
            deadline_s=60.0,
            old=run_of(),
        ),
        pause=Pause(by="ann", reason="", until_wall_s=None),
        fired={"0 3 * * *": 1.5},
        restart_counts={"forecast/ok": 2},
    )


def action() -> RestartService:
    """An action."""
    return RestartService(
        id="i-7",
        service="worker",
        incarnation=run_of(),
        trigger=Trigger.FORECAST,
        reason="because",
        decided=FakeClock().now(),
        deadline_s=60.0,
    )


def test_records_come_back_equal(store: SqliteStore, clock: FakeClock) -> None:
    """What a record holds is read back as it was."""
    store.commit(tick(clock.now(), records=(record(), record("cache"))))
    assert store.load().records == {"worker": record(), "cache": record("cache")}


def test_what_is_no_longer_guarded_does_not_come_back(store: SqliteStore, clock: FakeClock) -> None:
    """A service that was taken out must not be told of at every start."""
    store.commit(tick(clock.now(), serial=1, records=(ServiceRecord(name="a"),)))
    store.commit(replace(tick(clock.now(), serial=2), dropped=("a",)))
    assert "a" not in store.load().records


def test_ids_come_back(store: SqliteStore, clock: FakeClock) -> None:
    """Instance and serial of the last tick are those that the next start goes on from."""
    store.commit(tick(clock.now(), instance="abc", serial=41))
    saved = store.load()
    assert (saved.instance, saved.serial) == ("abc", 41)


def test_a_new_file_has_an_instance_for_good(path: str, clock: FakeClock) -> None:
    """The instance is made once, when the file is."""
    first = SqliteStore(path, clock)
    instance = first.load().instance
    first.close()
    second = SqliteStore(path, clock)
    assert (second.load().instance, bool(instance)) == (instance, True)
    second.close()


def test_serial_leaps_after_a_crash(path: str, clock: FakeClock) -> None:
    """Ids of ticks that a crash kept from the file are never used a second time."""
    crashed = SqliteStore(path, clock)
    crashed.commit(tick(clock.now(), serial=5))
    crashed.database.close()
    after_crash = SqliteStore(path, clock)
    assert after_crash.load().serial == 5 + LEAP
    after_crash.commit(tick(clock.now(), serial=9))
    after_crash.close()
    after_end = SqliteStore(path, clock)
    assert after_end.load().serial == 9
    after_end.close()


def test_samples_come_back_as_a_series(store: SqliteStore, clock: FakeClock) -> None:
    """The newest samples of the last incarnation rebuild its series."""
    store.commit(tick(clock.now(), samples=(sample(clock.now(), 1, incarnation=run_of(1)),)))
    for value in range(10, 15):
        now = clock.advance(10)
        store.commit(tick(now, samples=(sample(now, value, incarnation=run_of(2)),)))
    saved = store.load().samples["worker"]
    series = saved.series()
    assert saved.incarnation == run_of(2)
    assert saved.measure is Measure.AUTO
    assert list(series.recent.values) == [10, 11, 12, 13, 14]
    assert series.last() == (clock.boot_s, 14)


def test_series_survives_a_clock_set_back(store: SqliteStore, clock: FakeClock) -> None:
    """Samples are ordered by boot time, which no one sets."""
    for value in range(5):
        now = clock.advance(10)
        if value == 3:
            clock.set_wall(clock.wall_s - 3600)
            now = clock.now()
        store.commit(tick(now, samples=(sample(now, value),)))
    series = store.load().samples["worker"].series()
    assert list(series.recent.values) == [0, 1, 2, 3, 4]


def test_events_are_paged_newest_first(store: SqliteStore, clock: FakeClock) -> None:
    """A page begins before the last id of the page before it."""
    store.commit(tick(clock.now(), events=tuple(event(f"i-{n}") for n in range(5))))
    first = [e.id for e in store.events(limit=2)]
    second = [e.id for e in store.events(limit=2, before_id=first[-1])]
    assert (first, second) == (["i-4", "i-3"], ["i-2", "i-1"])


def test_events_are_chosen_by_service_and_kind(store: SqliteStore, clock: FakeClock) -> None:
    """Both conditions hold together."""
    wanted = event("i-3", service="cache", kind=EventKind.SERVICE_MISSING)
    store.commit(
        tick(
            clock.now(),
            events=(
                event("i-1", service="cache"),
                event("i-2", kind=EventKind.SERVICE_MISSING),
                wanted,
            ),
        )
    )
    assert store.events("cache", kinds=[EventKind.SERVICE_MISSING]) == [wanted]


def test_unknown_page_is_empty(store: SqliteStore, clock: FakeClock) -> None:
    """A page after an event that was pruned meanwhile is the end, not the beginning."""
    store.commit(tick(clock.now(), events=(event("i-1"),)))
    assert store.events(before_id="gone") == []


def test_an_event_is_written_once(store: SqliteStore, clock: FakeClock) -> None:
    """The same id twice stays one event."""
    store.commit(tick(clock.now(), events=(event("i-1"),)))
    store.commit(tick(clock.now(), events=(event("i-1"),)))
    assert [e.id for e in store.events()] == ["i-1"]


def test_an_alert_is_due_on_each_channel(store: SqliteStore, clock: FakeClock) -> None:
    """One delivery a channel, with the alert as it was."""
    told = alert(channels=("ops", "hook"))
    store.commit(tick(clock.now(), alerts=(told,)))
    due = store.due(clock.wall_s)
    assert [(d.alert, d.channel, d.attempts) for d in due] == [(told, "ops", 0), (told, "hook", 0)]


def test_what_was_delivered_is_no_longer_due(store: SqliteStore, clock: FakeClock) -> None:
    """A delivery is due until it is marked."""
    store.commit(tick(clock.now(), alerts=(alert(channels=("ops", "hook")),)))
    store.delivered(store.due(clock.wall_s)[0], "200 ok")
    assert [d.channel for d in store.due(clock.wall_s)] == ["hook"]
    done = store.deliveries([DeliveryState.OK])
    assert [(d.channel, d.attempts, d.answer) for d in done] == [("ops", 1, "200 ok")]


def test_a_failed_delivery_waits(store: SqliteStore, clock: FakeClock) -> None:
    """It is due again at its next try, with one attempt more."""
    store.commit(tick(clock.now(), alerts=(alert(),)))
    store.failed(store.due(clock.wall_s)[0], "500", clock.wall_s + 5)
    assert store.due(clock.wall_s + 4.9) == []
    assert store.next_due() == {"ops": clock.wall_s + 5}
    assert [(d.attempts, d.answer) for d in store.due(clock.wall_s + 5)] == [(1, "500")]


def test_a_clock_set_back_makes_waiting_deliveries_due(
    store: SqliteStore, clock: FakeClock
) -> None:
    """An alert does not wait for an hour to come round again."""
    store.commit(tick(clock.now(), alerts=(alert(),)))
    store.failed(store.due(clock.wall_s)[0], "500", clock.wall_s + 5)
    assert len(store.due(clock.wall_s - 3600)) == 1


def test_hasten_makes_a_channel_due(store: SqliteStore, clock: FakeClock) -> None:
    """Only the channel that works again is hurried."""
    store.commit(tick(clock.now(), alerts=(alert(channels=("ops", "hook")),)))
    for delivery in store.due(clock.wall_s):
        store.failed(delivery, "500", clock.wall_s + 7200)
    store.hasten("hook", clock.wall_s)
    assert [d.channel for d in store.due(clock.wall_s)] == ["hook"]


def test_a_crowded_channel_leaves_room(store: SqliteStore, clock: FakeClock) -> None:
    """The limit counts for each channel, so a long queue does not hide a short one."""
    store.commit(tick(clock.now(), alerts=tuple(alert(f"i-{n}") for n in range(9))))
    store.commit(tick(clock.now(), alerts=(alert("i-9", channels=("hook",)),)))
    assert [d.key for d in store.due(clock.wall_s, limit=2)] == [
        ("i-0", "ops"),
        ("i-1", "ops"),
        ("i-9", "hook"),
    ]


def test_counts_by_result(store: SqliteStore, clock: FakeClock) -> None:
    """Attempts that failed count beside how each delivery ended, and pruning takes none away."""
    store.commit(tick(clock.now(), alerts=tuple(alert(f"i-{n}") for n in range(4))))
    one, two, three, _ = store.due(clock.wall_s)
    store.delivered(one, "ok")
    store.failed(two, "410", None)
    store.failed(three, "500", clock.wall_s + 5)
    store.prune(clock.advance(30 * 86400).wall_s)
    assert store.delivery_counts() == {"ops": {"ok": 1, "failed": 2, "gave_up": 1, "pending": 2}}
    assert [d.state for d in store.deliveries()] == [DeliveryState.PENDING] * 2


def test_half_characters_are_kept(store: SqliteStore, clock: FakeClock) -> None:
    """A name with bytes that are no UTF-8 neither breaks a commit nor changes."""
    odd = "w\udce9rker"
    now = clock.now()
    store.commit(
        tick(
            now,
            samples=(sample(now, 1, service=odd),),
            records=(record(odd),),
            events=(event("i-1", service=odd, message=odd),),
            alerts=(alert("i-1", service=odd, channels=(odd,)),),
        )
    )
    assert [e.service for e in store.events(odd)] == [odd]
    assert store.due(clock.wall_s)[0].alert.service == odd
    assert store.load().records == {odd: record(odd)}
    assert len(store.series(odd, 0)) == 1


def test_sizes_beyond_64_bits_are_held_back(store: SqliteStore, clock: FakeClock) -> None:
    """A number that SQLite cannot hold is the greatest it can."""
    now = clock.now()
    store.commit(tick(now, samples=(sample(now, 2**70),)))
    assert store.series("worker", 0)[0].value_bytes == 2**63 - 1


def test_a_commit_is_all_or_nothing(store: SqliteStore, clock: FakeClock) -> None:
    """When one part cannot be written, no part is."""
    broken = tick(clock.now(), records=(record(),), events=(event("i-1"),))
    with store.database.write() as connection:
        connection.execute("DROP TABLE deliveries")
    with pytest.raises(StoreError):
        store.commit(tick(clock.now(), records=broken.records, alerts=(alert(),)))
    assert store.load().records == {}


def test_a_record_of_another_version_is_named_and_left_out(
    store: SqliteStore, clock: FakeClock
) -> None:
    """One record that cannot be read does not keep the others away."""
    store.commit(tick(clock.now(), records=(record(), record("cache"))))
    with store.database.write() as connection:
        connection.execute("UPDATE records SET record = '{\"x\": 1}' WHERE service = 'worker'")
    saved = store.load()
    assert list(saved.records) == ["cache"]
    assert saved.problems[0].startswith("the record of worker cannot be read")


def test_actions_are_synced_to_the_disk(path: str, clock: FakeClock) -> None:
    """A commit with an action is synchronous=FULL (2), and only that."""
    store = SqliteStore(path, clock)
    seen: list[int] = []

    class Watched(sqlite3.Connection):
        """Notes the level at each COMMIT."""

        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql == "COMMIT":
                seen.append(super().execute("PRAGMA synchronous").fetchone()[0])
            return super().execute(sql, parameters)  # type: ignore[arg-type]  # the base's own

    watched = sqlite3.connect(path, factory=Watched, isolation_level=None)
    writer, store.database._writer = store.database._writer, watched  # noqa: SLF001  the place to look
    store.database._writer.execute("PRAGMA synchronous=NORMAL")  # noqa: SLF001  as the store sets it
    store.commit(tick(clock.now(), actions=(action(),)))
    store.commit(tick(clock.now()))
    assert seen == [2, 1]
    assert writer is not None
    writer.close()
    store.close()


def test_a_newer_file_is_refused_and_left_alone(path: str, clock: FakeClock) -> None:
    """A downgrade says what is wrong and touches nothing."""
    SqliteStore(path, clock).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    before = Path(path).read_bytes()
    with pytest.raises(NewerSchema, match="newer leakguard"):
        SqliteStore(path, clock)
    assert Path(path).read_bytes() == before


def test_an_older_file_is_brought_forward(
    path: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version's steps run once, on what the file holds."""
    store = SqliteStore(path, clock)
    store.commit(tick(clock.now(), records=(record(),)))
    store.close()
    step = ("CREATE TABLE extra (n INTEGER)", "INSERT INTO extra SELECT count(*) FROM records")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    newer = SqliteStore(path, clock)
    with newer.database.read() as connection:
        assert connection.execute("SELECT n FROM extra").fetchall() == [(1,)]
        assert schema.version_of(connection) == schema.VERSION
    newer.close()


def test_the_file_is_private(path: str, clock: FakeClock) -> None:
    """Only the owner reads what services do."""
    SqliteStore(path, clock).close()
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_slow_reader_does_not_hold_up_a_commit(path: str, clock: FakeClock) -> None:
    """A reader in the middle of its query sees the old state while ticks go on."""
    store = SqliteStore(path, clock)
    store.commit(tick(clock.now(), events=(event("i-1"), event("i-2"))))
    with store.database.read() as connection:
        cursor = connection.execute("SELECT id FROM events ORDER BY seq")
        first = cursor.fetchone()
        store.commit(tick(clock.now(), events=(event("i-3"),)))
        assert (first, cursor.fetchall()) == (("i-1",), [("i-2",)])
    assert len(store.events()) == 3
    store.close()


def test_many_threads_read_and_write(path: str, clock: FakeClock) -> None:
    """Twelve threads of readers and one of ticks get on with three reading connections."""
    store = SqliteStore(path, clock)
    errors: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(20):
                store.events(limit=5)
                store.due(clock.wall_s)
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for n in range(50):
        store.commit(tick(clock.now(), events=(event(f"i-{n}"),), alerts=(_alert(n),)))
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.due(clock.wall_s, limit=99)) == 50
    store.close()


def _alert(n: int) -> Alert:
    return alert(f"i-{n}")


def test_a_closed_store_says_so(store: SqliteStore, clock: FakeClock) -> None:
    """Late calls of other threads get an error in words."""
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.commit(tick(clock.now()))
    with pytest.raises(StoreError, match="was closed"):
        store.events()


def test_a_read_only_view_writes_nothing(path: str, clock: FakeClock) -> None:
    """Commands read the file of a running daemon and cannot change it."""
    store = SqliteStore(path, clock)
    store.commit(tick(clock.now(), alerts=(alert(),)))
    view = SqliteStore(path, clock, read_only=True)
    assert [d.alert.id for d in view.deliveries()] == ["i-1"]
    with pytest.raises(StoreError, match="reading only"):
        view.commit(tick(clock.now()))
    view.close()
    store.close()


def test_a_full_memory_drops_history_not_alerts(clock: FakeClock) -> None:
    """The bound of the memory store holds, and what must be sent stays."""
    store = MemoryStore(clock, max_bytes=512 * 1024)
    store.commit(tick(clock.now(), alerts=(alert("i-first"),)))
    for n in range(400):
        now = clock.advance(1)
        long = tuple(event(f"e-{n}-{i}", message="x" * 200) for i in range(10))
        store.commit(tick(now, events=long, samples=(sample(now, n),)))
    assert [d.alert.id for d in store.due(clock.wall_s)] == ["i-first"]
    assert store.events(limit=1)[0].id == "e-399-9"
    store.close()
