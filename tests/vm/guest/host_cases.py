"""Cases in which the whole machine runs out of memory."""

import random
from collections.abc import Iterator

from tests.vm.guest.case import Case, Holder, Leak

HOLDERS_MIB = 210
LEAKER_DIES = frozenset({"leaker"})


def written() -> tuple[Case, ...]:
    """Give the cases whose end follows from how the kernel counts; for 512 MiB without swap."""
    return (
        Case(
            name="host-leaker-dies",
            holders=(
                Holder(name="first", anon=60),
                Holder(name="second", anon=40),
                Holder(name="third", anon=20),
            ),
            expect=LEAKER_DIES,
        ),
        Case(
            name="host-bystander-dies",
            holders=(Holder(name="big", anon=240), Holder(name="small", anon=20)),
            expect=frozenset({"big"}),
        ),
        Case(
            name="host-adj-raises",
            holders=(Holder(name="chosen", anon=20, adj=800), Holder(name="big", anon=120)),
            expect=frozenset({"chosen"}),
        ),
        Case(
            name="host-adj-lowers",
            holders=(Holder(name="spared", anon=200, adj=-600), Holder(name="mid", anon=40)),
            expect=LEAKER_DIES,
        ),
        Case(
            name="host-unkillable",
            holders=(Holder(name="never", anon=200, adj=-1000), Holder(name="mid", anon=50)),
            leak=Leak(adj=-500),
            expect=frozenset({"mid"}),
        ),
        Case(
            name="host-page-tables",
            holders=(Holder(name="sparse", sparse=14_000), Holder(name="dense", anon=90)),
            leak=Leak(adj=-500),
            expect=frozenset({"sparse"}),
        ),
        Case(
            name="host-file-melts",
            holders=(Holder(name="reader", file=140, anon=10), Holder(name="dense", anon=80)),
            leak=Leak(adj=-700),
            expect=frozenset({"dense"}),
        ),
        Case(
            name="host-shmem",
            holders=(
                Holder(name="mapper", shmem=90, anon=30),
                Holder(name="mapper2", shmem=90),
                Holder(name="dense", anon=100),
            ),
            leak=Leak(adj=-500),
            expect=frozenset({"mapper"}),
        ),
        Case(
            name="host-tmpfs-leak",
            holders=(Holder(name="big", anon=150), Holder(name="small", anon=30)),
            leak=Leak(kind="tmpfs", adj=-500),
            expect=frozenset({"big"}),
        ),
        Case(
            name="host-children",
            holders=(Holder(name="parent", anon=100, kids=3, kid_mib=30),),
            leak=Leak(adj=-500),
            expect=frozenset({"parent"}),
        ),
        Case(
            name="host-allocator-dies",
            holders=(Holder(name="big", anon=240),),
            settings={"oom_kill_allocating_task": 1},
        ),
        Case(
            name="host-huge-pages",
            holders=(Holder(name="huge", huge=110), Holder(name="dense", anon=90)),
            leak=Leak(adj=-500),
            expect=frozenset({"huge"}),
        ),
    )


def drawn(rng: random.Random, count: int, *, total_mib: int = HOLDERS_MIB) -> Iterator[Case]:
    """Draw sizes and oom_score_adj; one holder can always be killed and is no trifle."""
    for number in range(count):
        shares = [rng.uniform(0.2, 1.0) for _ in range(rng.randint(3, 5))]
        holders = [
            Holder(
                name=f"holder{index}",
                anon=round(total_mib * share / sum(shares), 1),
                adj=rng.choice((0, 0, 0, rng.randint(-1000, 1000), rng.randint(-300, 300))),
            )
            for index, share in enumerate(shares)
        ]
        holders.append(Holder(name="fallback", anon=20, adj=rng.choice((0, 0, 100, 1000))))
        rng.shuffle(holders)
        leak = Leak(adj=rng.choice((0, 0, 0, -200, -500, 200)), start=rng.choice((0, 20)))
        yield Case(name=f"host-drawn-{number}", holders=tuple(holders), leak=leak)
