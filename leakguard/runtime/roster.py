"""Which guarded services there are now, and where each runs: targets asked, slots remembered.

An entry without `each` is one service and must match one tree; several unrelated matches are
ambiguous. An entry with `each` is one service per match: a match takes the lowest free slot
(`worker:1`, `worker:2`, …) and the process that replaces it takes the slot it left, so that
state, breaker and series follow the place and not the pid. A match that its manager has a name for
(a unit, a container) is called by that: `worker:worker@blue.service`; where several share one name
(the pods of a workload), the others are `…#2`, `…#3`. What an entry without `each` has is left out
of all others: its own rules hold for it, and a pattern guards the rest.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.plan import ServicePlan
from leakguard.core.sample import Incarnation, Location, Process
from leakguard.runtime.same_run import RunKey, is_same_run, run_key
from leakguard.targets.base import Target

RELOCATE_S = 30.0
"""A location that still answers is looked up again after this, in case the target moved on."""
EACH_S = 10.0
FORGET_S = 600.0
"""A slot that stays empty this long is no longer guarded."""
_FURTHER = re.compile(r"#[0-9]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the configuration and its target."""

    plan: ServicePlan
    target: Target


@dataclass(slots=True)
class Slot:
    """One guarded service."""

    entry: Entry
    member: str = ""
    location: Location | None = None
    located_boot_s: float = float("-inf")
    last_seen_boot_s: float | None = None
    incarnation: Incarnation | None = None
    seen: Location | None = None
    """Where it was found last, also while it does not run."""


class Roster:
    """Looks services up. Used by the loop; `fresh` also by the executor's threads."""

    def __init__(self, entries: Mapping[str, Entry], known: Mapping[str, Incarnation]) -> None:
        """Start from the entries by name; `known` are the incarnations of an earlier daemon."""
        self._entries = dict(entries)
        self._slots: dict[str, Slot] = {}
        self._scanned: dict[str, float] = {}
        for name, entry in self._entries.items():
            own = [n for n in known if n.partition(":")[0] == name and ":" in n]
            names = (own or [f"{name}:1"]) if entry.plan.each else [name]
            for slot_name in names:
                member = _member_of(slot_name)
                self._slots[slot_name] = Slot(entry, member, incarnation=known.get(slot_name))

    def names(self) -> tuple[str, ...]:
        """Give every guarded service."""
        return tuple(self._slots)

    def member(self, service: str) -> str:
        """Give the manager's own name of a service, empty when it has none."""
        slot = self._slots.get(service)
        return slot.member if slot is not None else ""

    def entry(self, service: str) -> Entry:
        """Give the entry that a service belongs to."""
        return self._entries[service.partition(":")[0]]

    def known(self) -> dict[str, Incarnation]:
        """Give the last incarnation seen in each slot, for the roster after a reload."""
        return {n: s.incarnation for n, s in self._slots.items() if s.incarnation is not None}

    def places(self) -> dict[str, Location]:
        """Give where each service was found last."""
        return {n: s.seen for n, s in self._slots.items() if s.seen is not None}

    def scan(self, now: Instant) -> tuple[str, ...]:
        """Look for new matches of `each` entries; gives the slots that are given up."""
        dropped: list[str] = []
        for name, entry in self._entries.items():
            if entry.plan.each and now.boot_s - self._scanned.get(name, float("-inf")) >= EACH_S:
                self._scanned[name] = now.boot_s
                dropped += self._scan_one(name, entry, now)
        return tuple(dropped)

    def where(self, service: str, now: Instant, *, again: bool = False) -> Location:
        """Give where a service runs, from memory unless `again` or too old.

        Raises:
            TargetError: it does not run, or several unrelated processes match.
            ReadingError: it cannot be known now.
        """
        slot = self._slots[service]
        old = now.boot_s - slot.located_boot_s >= RELOCATE_S
        if slot.location is None or again or old:
            slot.location = None
            slot.location = slot.seen = self._locate(service, slot)
            slot.located_boot_s = now.boot_s
        slot.last_seen_boot_s = now.boot_s
        slot.incarnation = slot.location.root
        return slot.location

    def forget(self, service: str) -> None:
        """Drop what is remembered of where a service runs."""
        self._slots[service].location = None

    def fresh(self, service: str) -> Location | None:
        """Look where a service is right now, for the executor; None when it is not there.

        Raises:
            TargetError: several unrelated processes match: something runs, but which is not known.
            ReadingError: it cannot be known now.
        """
        slot = self._slots.get(service)
        if slot is None:
            return None
        try:
            return self._locate(service, slot)
        except TargetError as error:
            if error.ambiguous:
                raise
            return None

    def _locate(self, service: str, slot: Slot) -> Location:
        found = slot.entry.target.locate()
        if slot.entry.plan.each:
            return self._own_match(service, slot, _without(found, self._owned(found)))
        if len(found) > 1:
            raise TargetError(_ambiguous(service, slot.entry, found), ambiguous=True)
        if not found:
            raise TargetError(f"{service}: no {slot.entry.target.describe()}")
        return found[0]

    def _own_match(self, service: str, slot: Slot, found: tuple[Location, ...]) -> Location:
        """Give the match that is in this slot, or the oldest one that is in none."""
        mine = [one for one in found if one.member == slot.member]
        if found and not slot.member and not mine:
            # What has a name is not taken by a number: a scan, at once, calls it by its name.
            self._scanned.pop(service.partition(":")[0], None)
        for location in mine:
            if is_same_run(location.root, slot.incarnation):
                return location
        slots = tuple(self._slots.values())  # other threads ask too, while a scan adds slots
        taken = _keys(s.incarnation for s in slots if s.entry is slot.entry)
        free = [location for location in mine if run_key(location.root) not in taken]
        if not free:
            raise _none(service, slot)
        return free[0]

    def _owned(self, found: tuple[Location, ...]) -> set[Process]:
        """Give the processes that have an entry of their own, asking it about what is new."""
        slots = tuple(self._slots.values())
        known = {s.incarnation.process for s in slots if s.incarnation is not None}
        news = any(location.root.process not in known for location in found)
        owned = set[Process]()
        for slot in [s for s in slots if not s.entry.plan.each]:
            if news or slot.seen is None:
                owned |= _only_match(slot.entry)
            if slot.incarnation is not None:
                owned.add(slot.incarnation.process)
        return owned

    def _leave_to_others(self, entry: Entry, owned: set[Process]) -> tuple[str, ...]:
        """Give slots up whose process has an entry of its own by now."""
        gone = []
        for slot_name, slot in self._of(entry).items():
            if slot.incarnation is None or slot.incarnation.process not in owned:
                continue
            slot.location = slot.incarnation = None
            if len(self._of(entry)) > 1:
                del self._slots[slot_name]
                gone.append(slot_name)
        return tuple(gone)

    def _of(self, entry: Entry) -> dict[str, Slot]:
        return {name: slot for name, slot in self._slots.items() if slot.entry is entry}

    def _scan_one(self, name: str, entry: Entry, now: Instant) -> Iterable[str]:
        try:
            found = entry.target.locate()
        except TargetError:
            found = ()
        except ReadingError:
            return ()
        owned = self._owned(found)
        found = _without(found, owned)
        dropped = self._name_by_member(name, entry, found) + self._leave_to_others(entry, owned)
        slots = self._of(entry)
        taken = _keys(s.incarnation for s in slots.values())
        running = _keys(location.root for location in found)
        free = [n for n, s in slots.items() if not _keys([s.incarnation]) & running]
        for location in [f for f in found if run_key(f.root) not in taken]:
            slot_name = self._slot_for(name, location, free)
            slot = self._slots.setdefault(slot_name, Slot(entry, location.member))
            slot.location = slot.seen = location
            slot.located_boot_s = now.boot_s
            slot.incarnation = location.root
        return [*dropped, *self._give_up(name, entry, now)]

    def _name_by_member(
        self, name: str, entry: Entry, found: tuple[Location, ...]
    ) -> tuple[str, ...]:
        """Drop the numbered slots of an entry whose matches have names of their own."""
        if not any(location.member for location in found):
            return ()
        slots = [n for n, s in self._slots.items() if s.entry is entry and not s.member]
        for slot_name in slots:
            del self._slots[slot_name]
        return tuple(slots)

    def _slot_for(self, name: str, location: Location, free: list[str]) -> str:
        fits = [n for n in free if self._slots[n].member == location.member]
        if fits:
            free.remove(fits[0])
            return fits[0]
        names = _slot_names(name, location.member)
        return next(slot_name for slot_name in names if slot_name not in self._slots)

    def _give_up(self, name: str, entry: Entry, now: Instant) -> list[str]:
        gone = []
        last = f"{name}:1"
        for slot_name, slot in list(self._slots.items()):
            if slot.entry is not entry or slot_name == last or slot.location is not None:
                continue
            if sum(other.entry is entry for other in self._slots.values()) == 1:
                continue  # somebody has to say that nothing matches
            if slot.last_seen_boot_s is None:  # known from an earlier daemon: its time begins now
                slot.last_seen_boot_s = now.boot_s
            if now.boot_s - slot.last_seen_boot_s >= FORGET_S:
                del self._slots[slot_name]
                gone.append(slot_name)
        return gone


def _only_match(entry: Entry) -> set[Process]:
    """Give what an entry matches now; what is ambiguous, or cannot be known, is nothing."""
    try:
        found = entry.target.locate()
    except (TargetError, ReadingError):
        return set()
    return {found[0].root.process} if len(found) == 1 else set()


def _without(found: tuple[Location, ...], owned: set[Process]) -> tuple[Location, ...]:
    return tuple(location for location in found if location.root.process not in owned)


def _keys(runs: Iterable[Incarnation | None]) -> set[RunKey]:
    return {run_key(run) for run in runs if run is not None}


def _member_of(slot_name: str) -> str:
    """Give the manager's name in `worker:worker@blue.service`; `worker:2` has none."""
    suffix = slot_name.partition(":")[2]
    return "" if suffix.isdecimal() else _FURTHER.sub("", suffix)


def _slot_names(name: str, member: str) -> Iterator[str]:
    """Give the names that slots of one entry, and of one name in it, may have, in order.

    A member called `7` is `worker:7#1`: `worker:7` would be the seventh that has no name.
    """
    named = bool(member) and not member.isdecimal()
    if named:
        yield f"{name}:{member}"
    for number in count(2 if named else 1):
        yield f"{name}:{member}#{number}" if member else f"{name}:{number}"


def _none(service: str, slot: Slot) -> TargetError:
    target = slot.entry.target
    if not slot.member:
        return TargetError(f"{service}: no further {target.describe()}")
    if target.awaits(slot.member):
        return TargetError(f"{service}: {slot.member} does not run")
    return TargetError(f"{service}: {slot.member} was taken away", taken_away=True)


def _ambiguous(service: str, entry: Entry, found: tuple[Location, ...]) -> str:
    pids = ", ".join(f"{f.root.pid} ({f.name})" for f in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return (
        f"{service}: {len(found)} unrelated processes match {entry.target.describe()}: "
        f"{pids}{more}; make the target narrower, or set `each: true`"
    )
