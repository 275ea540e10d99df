"""Deliver alerts from the outbox: one thread per channel that has work, so none delays another.

A delivery is marked after it was sent, so a crash in between costs one duplicate with the same id
and never an alert. A failed one is tried again after 5 s, 30 s, 5 min, 30 min and then every 2 h,
for a day. While a channel fails, only one request at a time asks whether it works again, at most
5 min apart; when it does, all that waits for it goes out.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import field

from leakguard.core.engine import Notice
from leakguard.core.errors import NotifyError, StoreError
from leakguard.core.events import Detail, EventKind, Severity
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock, Instant
from leakguard.notifiers.base import Notifier
from leakguard.store.base import Delivery, Store

log = logging.getLogger("leakguard.dispatcher")

BACK_OFF_S = (5.0, 30.0, 300.0, 1_800.0, 7_200.0)
HOLD_S = (5.0, 30.0, 300.0)
"""How long a failing channel rests, by failures in a row."""

GIVE_UP_S = 86_400.0
LEAST_FAILURES = 5
"""In a row: a clock that leaps a day ahead must not make the first failure the last."""

MOST_RETRY_AFTER_S = 3_600.0
JITTER = 0.1
TOLD_AFTER = 3
"""Failures in a row after which people on the other channels are told."""

STUCK_S = 120.0
BUDGET_S = 0.5
BATCH = 50
SLICE_S = 0.05


@dataclass(slots=True)
class _Channel:
    """What is known of one channel while the daemon runs. Touched by one worker at a time."""

    name: str
    failures: int = 0
    hold_until: Instant | None = None
    last_sent: Instant | None = None
    told: int = 0
    """0: works, 1: people know that it fails, 2: they know that it fails for good."""
    worker: "Future[None] | None" = None
    began: Instant | None = None
    unmarked: dict[tuple[str, str], str] = field(default_factory=dict)
    """Sent, but the store could not note it: marked later, never sent again."""

    @property
    def is_busy(self) -> bool:
        """Whether a worker sends on it."""
        return self.worker is not None and not self.worker.done()


class Dispatcher:
    """Sends what is due. `dispatch_due` is called by a scheduler job and after commits."""

    def __init__(
        self,
        store: Store,
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        notice: Callable[[Notice], None],
        *,
        seed: int | None = None,
    ) -> None:
        """Take the notifier of each channel; `seed` fixes the jitter."""
        self._store = store
        self._notifiers = dict(notifiers)
        self._clock = clock
        self._notice = notice
        self._random = random.Random(seed)  # noqa: S311  spreads retries, guards nothing
        self._channels = _told_before(store)
        self._one_at_a_time = threading.Lock()
        self._stop = threading.Event()
        self._hurry = threading.Event()

    def replace(self, notifiers: Mapping[str, Notifier]) -> None:
        """Use the channels of a new configuration; does not wait for what is being sent."""
        self._notifiers = dict(notifiers)

    def stop(self) -> None:
        """Send nothing more; a request that is under way may still end."""
        self._stop.set()
        self._hurry.set()

    def dispatch_due(self, budget_s: float = BUDGET_S) -> None:
        """Start sending what is due and wait up to `budget_s` for it; never raises."""
        if self._stop.is_set() or not self._one_at_a_time.acquire(blocking=False):
            return
        try:
            workers = self._start_due()
        finally:
            self._one_at_a_time.release()
        wait(workers, timeout=budget_s)

    def finish(
        self, budget_s: float, *, never_again: bool, cancelled: threading.Event
    ) -> dict[str, int]:
        """Give what is pending a last chance of `budget_s`, then stop; gives what is left.

        That is the number of alerts by channel. `never_again`: nobody sends them later, so what
        waits for another attempt is tried now. No channel's spacing is kept any more.
        """
        self._hurry.set()
        if never_again:
            self._make_all_due()
        left_s, end = budget_s, self._clock.now().plus(budget_s)
        while min(left_s, end.since(self._clock.now())) > 0 and not cancelled.is_set():
            if self._one_at_a_time.acquire(timeout=left_s):
                try:
                    self._start_due()
                finally:
                    self._one_at_a_time.release()
            channels = tuple(self._channels.values())  # a job of the scheduler may add one
            busy = [c.worker for c in channels if c.worker is not None and c.is_busy]
            if not busy:
                break
            if not wait(busy, timeout=min(SLICE_S, left_s), return_when=FIRST_COMPLETED).done:
                left_s -= SLICE_S
        self.stop()
        return self._left_over()

    def _make_all_due(self) -> None:
        for name in self._notifiers:
            channel = self._channels.get(name)
            if channel is not None:
                channel.hold_until = None
            try:
                self._store.hasten(name, self._clock.now().wall_s)
            except StoreError:
                return  # the store tells of itself

    def _left_over(self) -> dict[str, int]:
        try:
            counts = self._store.delivery_counts()
        except StoreError:
            return {}
        pending = {name: counts.get(name, {}).get("pending", 0) for name in self._notifiers}
        return {name: count for name, count in pending.items() if count}

    def _start_due(self) -> "list[Future[None]]":
        """Start a worker for each channel that has something due and is free."""
        now = self._clock.now()
        try:
            groups = self._due_by_channel(now)
            workers = [self._start(name, group, now) for name, group in groups.items()]
        except StoreError:
            return []  # the store tells of itself; what is due stays due
        return [worker for worker in workers if worker is not None]

    def next_wake_wall_s(self) -> float | None:
        """Give the wall time at which something will be due; None when nothing is pending."""
        now = self._clock.now()
        try:
            pending = self._store.next_due()
        except StoreError:
            return now.wall_s + BACK_OFF_S[0]
        times = [self._free_at(name, at, now) for name, at in pending.items()]
        return min((at for at in times if at is not None), default=None)

    def _free_at(self, name: str, at_wall_s: float, now: Instant) -> float | None:
        channel = self._channels.get(name)
        if name not in self._notifiers:
            return None
        if channel is None:
            return at_wall_s
        if channel.is_busy:
            return max(at_wall_s, now.wall_s + 1.0)
        if channel.hold_until is not None:
            return max(at_wall_s, now.wall_s + channel.hold_until.since(now))
        return at_wall_s

    def _due_by_channel(self, now: Instant) -> dict[str, list[Delivery]]:
        groups: dict[str, list[Delivery]] = {}
        for delivery in self._store.due(now.wall_s, BATCH):
            groups.setdefault(delivery.channel, []).append(delivery)
        return groups

    def _start(self, name: str, group: list[Delivery], now: Instant) -> "Future[None] | None":
        notifier = self._notifiers.get(name)
        if notifier is None:
            self._give_up_unknown(group, now)
            return None
        channel = self._channels.setdefault(name, _Channel(name))
        if channel.is_busy:
            self._tell_if_stuck(channel, now)
            return None
        if channel.hold_until is not None and now.since(channel.hold_until) < 0:
            return None
        done: Future[None] = Future()
        thread = threading.Thread(
            target=self._work,
            args=(channel, notifier, group, done),
            name=f"notify-{name}",
            daemon=True,  # no receiver may hold the exit
        )
        channel.worker, channel.began = done, now
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had now
            done.set_result(None)
            self._rest(channel, f"no thread to send in: {error}")
            return None
        return done

    def _work(
        self, channel: _Channel, notifier: Notifier, group: list[Delivery], done: "Future[None]"
    ) -> None:
        try:
            for delivery in group:
                if self._stop.is_set() or not self._send(channel, notifier, delivery):
                    break
        except StoreError as error:  # what was sent is remembered as unmarked, the rest stays due
            self._rest(channel, str(error))
        except Exception as error:
            log.exception("channel=%s a delivery failed inside leakguard", channel.name)
            self._rest(channel, type(error).__name__)
        finally:
            done.set_result(None)

    def _rest(self, channel: _Channel, why: str) -> None:
        """Leave a channel alone for a moment: what failed is not the receiver's fault."""
        channel.hold_until = self._clock.now().plus(HOLD_S[0])
        log.warning("channel=%s alerts wait for %.0f s: %s", channel.name, HOLD_S[0], why)

    def _send(self, channel: _Channel, notifier: Notifier, delivery: Delivery) -> bool:
        """Send one and note how it went; False when the channel should rest."""
        if delivery.key in channel.unmarked:
            self._store.delivered(delivery, channel.unmarked[delivery.key])
            del channel.unmarked[delivery.key]
            return True
        if not self._keep_spacing(channel, notifier.spacing_s):
            return False
        try:
            answer = notifier.send(delivery.alert)
        except NotifyError as error:
            return self._failed(channel, delivery, error)
        except Exception as error:  # noqa: BLE001  a plug-in's mistake must not stop the others
            return self._failed(channel, delivery, NotifyError(type(error).__name__))
        channel.unmarked[delivery.key] = answer
        self._store.delivered(delivery, answer)
        del channel.unmarked[delivery.key]
        self._works_again(channel)
        return True

    def _keep_spacing(self, channel: _Channel, spacing_s: float) -> bool:
        """Wait until the channel takes another message; False when told to stop."""
        now = self._clock.now()
        if spacing_s and channel.last_sent is not None:
            left_s = min(spacing_s - now.since(channel.last_sent), spacing_s)
            if left_s > 0 and self._hurry.wait(left_s) and self._stop.is_set():
                return False
        channel.last_sent = self._clock.now()
        return True

    def _failed(self, channel: _Channel, delivery: Delivery, error: NotifyError) -> bool:
        """Note a failed attempt. A permanent one concerns this alert: the next may pass."""
        now = self._clock.now()
        channel.failures += 1
        gave_up = error.permanent or (
            now.wall_s - delivery.created_wall_s >= GIVE_UP_S and channel.failures >= LEAST_FAILURES
        )
        rest_s = self._rest_s(HOLD_S[min(channel.failures, len(HOLD_S)) - 1], error)
        wait_s = self._rest_s(BACK_OFF_S[min(delivery.attempts, len(BACK_OFF_S) - 1)], error)
        if not error.permanent:
            channel.hold_until = now.plus(rest_s)
        self._tell_if_new(channel, str(error), permanent=gave_up)
        self._store.failed(delivery, str(error), None if gave_up else now.wall_s + wait_s)
        return error.permanent

    def _rest_s(self, wait_s: float, error: NotifyError) -> float:
        """Give the wait, a little longer or shorter; never shorter than the receiver asked for."""
        spread = wait_s * (1 + JITTER * self._random.uniform(-1, 1))
        return max(spread, min(error.retry_after_s or 0.0, MOST_RETRY_AFTER_S))

    def _works_again(self, channel: _Channel) -> None:
        failures, told = channel.failures, channel.told
        channel.failures, channel.told, channel.hold_until = 0, 0, None
        if told:
            self._tell(
                EventKind.DELIVERY_RECOVERED,
                Severity.WARNING,
                f"alerts reach channel {channel.name} again",
                {"channel": channel.name},
            )
        if failures:
            self._store.hasten(channel.name, self._clock.now().wall_s)

    def _tell_if_new(self, channel: _Channel, why: str, *, permanent: bool) -> None:
        """Tell the other channels, once until it works again, and once more when it is for good."""
        level = 2 if permanent else int(channel.failures >= TOLD_AFTER)
        if level <= channel.told:
            return
        channel.told = level
        ends = "given up" if permanent else f"{channel.failures} attempts failed, trying on"
        self._tell(
            EventKind.DELIVERY_FAILED,
            Severity.CRITICAL if permanent else Severity.WARNING,
            f"alerts do not reach channel {channel.name}: {why} ({ends})",
            {"channel": channel.name, "permanent": permanent, "failures": channel.failures},
        )

    def _tell_if_stuck(self, channel: _Channel, now: Instant) -> None:
        if channel.began is not None and now.since(channel.began) >= STUCK_S:
            channel.failures = max(channel.failures, TOLD_AFTER)
            self._tell_if_new(channel, "the receiver does not come to an end", permanent=False)

    def _tell(
        self, kind: EventKind, severity: Severity, message: str, details: Mapping[str, Detail]
    ) -> None:
        self._notice(
            Notice(
                kind=kind.value,
                service="",
                severity=severity.value,
                message=message,
                details=details,
            )
        )

    def _give_up_unknown(self, group: list[Delivery], now: Instant) -> None:
        """Keep alerts of a channel that was taken out of the configuration for a day."""
        for delivery in group:
            if now.wall_s - delivery.created_wall_s >= GIVE_UP_S:
                self._store.failed(delivery, "the configuration has no such channel", None)


def _told_before(store: Store) -> dict[str, _Channel]:
    """Find the channels that people know to fail, so that their recovery is told as well."""
    kinds = (EventKind.DELIVERY_FAILED, EventKind.DELIVERY_RECOVERED)
    channels: dict[str, _Channel] = {}
    try:
        events = store.events(kinds=kinds, limit=BATCH)
    except StoreError:
        return {}
    for event in events:  # newest first
        name = str(event.details.get("channel", ""))
        failed = event.kind is EventKind.DELIVERY_FAILED
        told = (2 if event.details.get("permanent") else 1) if failed else 0
        channels.setdefault(name, _Channel(name, told=told))
    return channels
