"""Cases with swap behind the memory: of the host, and as far as a cgroup allows it."""

from tests.vm.guest.case import Case, Holder, Leak

LEAKER_DIES = frozenset({"leaker"})


def host() -> tuple[Case, ...]:
    """Give the cases for a machine whose swap takes somewhat less than its memory."""
    return (
        Case(
            name="swap-leaker-dies",
            holders=(Holder(name="first", anon=60), Holder(name="second", anon=40)),
            gap_mib=96,
            expect=LEAKER_DIES,
        ),
        Case(
            name="swap-swapped-bystander-dies",  # what it has in swap counts as much as its memory
            holders=(Holder(name="big", anon=320), Holder(name="small", anon=20)),
            leak=Leak(adj=-300),
            gap_mib=96,
            expect=frozenset({"big"}),
        ),
        Case(
            name="swap-adj-raises",  # each point is worth a thousandth of memory and swap together
            holders=(Holder(name="chosen", anon=20, adj=900), Holder(name="big", anon=120)),
            gap_mib=96,
            expect=frozenset({"chosen"}),
        ),
    )


def group() -> tuple[Case, ...]:
    """Give the cases of a cgroup with swap: some, none, and a limit on it from above."""
    holders = (Holder(name="big", anon=60), Holder(name="small", anon=10))
    return (
        Case(
            name="swap-max-some",
            holders=holders,
            limits={"": {"memory.max": "80M", "memory.swap.max": "32M"}},
            limited="",
            gap_mib=12,
            expect=frozenset({"big"}),
        ),
        Case(
            name="swap-max-none",
            holders=holders,
            limits={"": {"memory.max": "100M", "memory.swap.max": "0"}},
            limited="",
            gap_mib=12,
            expect=frozenset({"big"}),
        ),
        Case(
            name="swap-max-all",
            holders=(Holder(name="mid", anon=30),),
            limits={"": {"memory.max": "64M", "memory.swap.max": "max"}},
            limited="",
            gap_mib=24,
            expect=LEAKER_DIES,
        ),
        Case(
            name="swap-max-adj-counts-swap",
            holders=(
                Holder(name="chosen", anon=16, adj=420),  # 64 + 64 MiB: a point is 32 pages
                Holder(name="big", anon=60),
            ),
            limits={"": {"memory.max": "64M", "memory.swap.max": "64M"}},
            limited="",
            gap_mib=12,
            expect=frozenset({"chosen"}),
        ),
    )
