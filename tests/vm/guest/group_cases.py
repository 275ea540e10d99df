"""Cases in which a cgroup (version 2) runs out of memory."""

import random
from collections.abc import Iterator

from tests.vm.guest.case import Case, Holder, Leak

GAP_MIB = 12
NO_SWAP = {"memory.swap.max": "0"}
LEAKER_DIES = frozenset({"leaker"})


def limit(mib: float, **more: str) -> dict[str, str]:
    """Give the files of a group with this limit and no swap; `swap_max` and `oom_group` by name."""
    files = {"memory.max": f"{mib}M", **NO_SWAP}
    return files | {f"memory.{key.replace('_', '.')}": value for key, value in more.items()}


def _flat(name: str, *holders: Holder, dies: set[str], leak: Leak | None = None) -> Case:
    return Case(
        name=name,
        holders=holders,
        leak=leak or Leak(),
        limits={"": limit(112)},
        limited="",
        gap_mib=GAP_MIB,
        expect=frozenset(dies),
    )


def written() -> tuple[Case, ...]:
    """Give the cases whose end follows from how the kernel counts."""
    return (
        _flat(
            "group-leaker-dies",
            Holder(name="first", anon=30),
            Holder(name="second", anon=20),
            dies={"leaker"},
        ),
        _flat(
            "group-bystander-dies",
            Holder(name="big", anon=75),
            Holder(name="small", anon=5),
            dies={"big"},
        ),
        _flat(
            "group-adj-by-its-own-scale",  # by the scale of the host `nudged` would be spared
            Holder(name="nudged", anon=20, adj=450),
            Holder(name="dense", anon=48),
            dies={"nudged"},
        ),
        _flat(
            "group-host-scale-misleads",  # by the scale of the host `nudged` would die
            Holder(name="nudged", anon=15, adj=100),
            Holder(name="dense", anon=50),
            dies={"dense"},
            leak=Leak(adj=-100),
        ),
        _flat(
            "group-all-negative",
            Holder(name="first", anon=40, adj=-900),
            Holder(name="second", anon=25, adj=-800),
            leak=Leak(adj=-990),
            dies={"first"},
        ),
        _flat(
            "group-unkillable",
            Holder(name="never", anon=60, adj=-1000),
            Holder(name="mid", anon=20),
            leak=Leak(adj=-900),
            dies={"mid"},
        ),
        _flat(
            "group-page-tables",
            Holder(name="sparse", sparse=6000),
            Holder(name="dense", anon=36),
            dies={"sparse"},
            leak=Leak(adj=-300),
        ),
        _flat(
            "group-leak-of-page-tables",
            Holder(name="dense", anon=40),
            dies={"leaker"},
            leak=Leak(kind="sparse"),
        ),
        _flat(
            "group-mapped-file",
            Holder(name="reader", file=70, anon=5),
            Holder(name="dense", anon=40),
            dies={"dense"},
            leak=Leak(adj=-500),
        ),
        _flat(
            "group-shmem",
            Holder(name="mapper", shmem=40, anon=8),
            Holder(name="mapper2", shmem=40),
            Holder(name="dense", anon=30),
            dies={"mapper"},
            leak=Leak(adj=-500),
        ),
        _flat(
            "group-children",
            Holder(name="parent", anon=35, kids=3, kid_mib=10),
            dies={"parent"},
            leak=Leak(adj=-500),
        ),
        *_nested(),
        *_grouped(),
    )


def _nested() -> tuple[Case, ...]:
    """The limit above, below, and in the middle."""
    both = (Holder(name="big", group="a", anon=60), Holder(name="mid", group="b", anon=12))
    leak = Leak(group="b")
    return (
        Case(
            name="nested-victim-in-sibling",
            holders=both,
            leak=leak,
            limits={"": limit(112)},
            limited="",
            gap_mib=GAP_MIB,
            expect=frozenset({"big"}),
        ),
        Case(
            name="nested-limit-on-child",
            holders=both,
            leak=leak,
            limits={"": limit(160), "b": limit(56)},
            limited="b",
            gap_mib=GAP_MIB,
            expect=LEAKER_DIES,
        ),
        Case(
            name="nested-three-levels",
            holders=(
                Holder(name="outside", group="x", anon=90),
                Holder(name="big", group="m/a", anon=50),
                Holder(name="small", group="m/b", anon=6),
            ),
            leak=Leak(group="m/b"),
            limits={"": limit(230), "m": limit(96), "m/b": limit(90)},
            limited="m",
            gap_mib=GAP_MIB,
            expect=frozenset({"big"}),
        ),
    )


def _grouped() -> tuple[Case, ...]:
    """memory.oom.group: the whole group dies with the one that is chosen."""
    return (
        Case(
            name="oom-group-dies-together",
            holders=(
                Holder(name="big", group="b", anon=40),
                Holder(name="tiny", group="b", anon=1),
                Holder(name="never", group="b", anon=1, adj=-1000),
            ),
            leak=Leak(group="b"),
            limits={"b": limit(96, oom_group="1")},
            limited="b",
            gap_mib=GAP_MIB,
            expect=frozenset({"big", "leaker", "tiny"}),
        ),
        Case(
            name="oom-group-of-the-sibling",
            holders=(
                Holder(name="big", group="a", anon=60),
                Holder(name="tiny", group="a", anon=1),
                Holder(name="mid", group="b", anon=5),
            ),
            leak=Leak(group="b"),
            limits={"": limit(112), "a": {"memory.oom.group": "1"}},
            limited="",
            gap_mib=GAP_MIB,
            expect=frozenset({"big", "tiny"}),
        ),
    )


def drawn(rng: random.Random, count: int) -> Iterator[Case]:
    """Draw sizes, oom_score_adj and where the limit is; the leaker itself can always be killed."""
    for number in range(count):
        limit_mib = rng.randint(80, 160)
        shares = [rng.uniform(0.2, 1.0) for _ in range(rng.randint(2, 5))]
        total_mib = limit_mib * rng.uniform(0.4, 0.7)
        holders = tuple(
            Holder(
                name=f"holder{index}",
                group=rng.choice("ab"),
                anon=round(total_mib * share / sum(shares), 1),
                adj=rng.choice((0, 0, 0, rng.randint(-1000, 1000), rng.randint(-200, 200))),
            )
            for index, share in enumerate(shares)
        )
        yield Case(
            name=f"group-drawn-{number}",
            holders=holders,
            leak=Leak(group=rng.choice("ab"), adj=rng.choice((0, 0, -100, 100))),
            limits={"": limit(limit_mib)},
            limited="",
            gap_mib=GAP_MIB,
        )
