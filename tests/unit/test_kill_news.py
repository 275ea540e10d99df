"""What people are told of kills: who, where, whose limit, how loudly, and how often."""

from dataclasses import replace

import pytest

from leakguard.core.events import Event, EventKind
from leakguard.core.inbox import RestartRequest
from leakguard.core.kill_book import NAME_WAIT_S
from leakguard.core.kill_teller import HUSH_S
from leakguard.core.kills import KillCause, NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.sample import DomainSample, HostSample, Sample
from leakguard.core.severity import Severity
from leakguard.core.units import MIB
from leakguard.testing.bench import NAME, Bench, Heard, guarded, sample_of
from leakguard.testing.ticks import run_of

OWN, PARENT = "v2:/p/worker", "v2:/p"
REQUEST = (RestartRequest(id="r", service=NAME),)


def limited(path: str, *, kills: int = 0, usage_mib: int = 100, hits: int = 0) -> DomainSample:
    """Make a cgroup with a limit of 512 MiB."""
    return DomainSample(
        path=path,
        version=2,
        limit_bytes=512 * MIB,
        usage_bytes=usage_mib * MIB,
        oom_kills=kills,
        limit_hits=hits,
    )


def host(kills: int, *, available_mib: int = 4096) -> HostSample:
    """Make a machine of 8 GiB."""
    return HostSample(total_bytes=8192 * MIB, available_bytes=available_mib * MIB, oom_kills=kills)


class World:
    """`worker` in a limited cgroup below a limited one, on a bench."""

    def __init__(self, *, alone: bool = True, processes: int = 2) -> None:
        self.bench = Bench()
        self.alone = alone
        self.processes = processes
        self.kills = {OWN: 0, PARENT: 0, "": 0}
        self.hits = {OWN: 0, PARENT: 0}
        self.available_mib = 4096
        self.tick()

    def sample(self, pid: int = 100) -> Sample:
        """Read the service."""
        made = sample_of(self.bench.clock.now(), 100, run=run_of(pid), domains=(OWN, PARENT))
        return replace(made, cgroup=OWN, alone=self.alone, processes=self.processes)

    def tick(
        self, *kills: NamedKill, after_s: float = 1.0, no_names: str = "", ending: bool = False
    ) -> list[Event]:
        """Let time pass with the service alive; give what was told of kills."""
        self.bench.clock.advance(after_s)
        made = self.bench.hear(
            Heard(kills=kills, no_names=no_names, ending=ending),
            self.sample(),
            domains={
                key: limited(key[3:], kills=self.kills[key], hits=self.hits[key])
                for key in (OWN, PARENT)
            },
            host=host(self.kills[""], available_mib=self.available_mib),
        )
        return [e for e in made.events if e.kind is EventKind.OOM_KILL_OBSERVED]

    def count(self, *keys: str) -> None:
        """Have the kernel count a kill in these cgroups and on the host."""
        for key in (*keys, ""):
            self.kills[key] += 1

    @property
    def causes(self) -> dict[str, int]:
        """What was counted for the service."""
        return dict(self.bench.service.record.oom_causes)

    def kill(self, pid: int = 900, group: str = "/p/worker", **more: object) -> NamedKill:
        """Make a kill by the service's own limit."""
        values: dict[str, object] = {
            "pid": pid,
            "name": "app",
            "task_memcg": group,
            "oom_memcg": "/p/worker",
            "scope": Domain.MEMCG,
            "limit_bytes": 512 * MIB,
            "anon_bytes": 400 * MIB,
            "oom_score_adj": 200,
        }
        return NamedKill(**{**values, **more})  # type: ignore[arg-type]  # tests choose the fields


def test_a_kill_is_told_with_all_that_the_log_says() -> None:
    """At once, and counted for the service that lost a process."""
    world = World()
    world.count(OWN, PARENT)
    (event,) = world.tick(world.kill())
    assert (event.service, event.severity, event.message) == (
        NAME,
        Severity.CRITICAL,
        (
            "the kernel killed app (pid 900, 400 MiB anonymous, oom_score_adj 200), a process of "
            "worker: cgroup /p/worker reached its limit of 512 MiB"
        ),
    )
    assert (event.details["cause"], event.details["pid"], event.details["limit_bytes"]) == (
        "own_limit",
        900,
        512 * MIB,
    )
    assert (world.causes, world.bench.service.record.oom_kills) == ({"own_limit": 1}, 1)
    assert world.tick(after_s=NAME_WAIT_S) == []


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        ({}, KillCause.OWN_LIMIT, "cgroup /p/worker reached its limit of 512 MiB"),
        ({"oom_memcg": "/p/worker/sub"}, KillCause.OWN_LIMIT, "cgroup /p/worker/sub reached"),
        ({"oom_memcg": "/p"}, KillCause.ANCESTOR_LIMIT, "cgroup /p reached its limit of 512 MiB"),
        ({"oom_memcg": None}, KillCause.UNKNOWN, "a cgroup reached its limit of 512 MiB"),
        ({"scope": Domain.HOST}, KillCause.HOST, "the host ran out of memory (512 MiB of RAM)"),
        ({"scope": Domain.CPUSET}, KillCause.HOST, "the memory nodes that it may use ran out"),
        ({"scope": None}, KillCause.UNKNOWN, "memory ran out"),
    ],
)
def test_whose_memory_ran_out(changes: dict[str, object], cause: KillCause, words: str) -> None:
    """By the limit that the log names, as seen from the service."""
    world = World()
    (event,) = world.tick(replace(world.kill(), **changes))  # type: ignore[arg-type]  # cases choose the fields
    assert (event.details["cause"], words in event.message) == (cause.value, True)
    assert world.causes[cause.value] == 1


def test_a_kill_of_the_root_is_a_note() -> None:
    """Its death is what people are woken by."""
    world = World()
    assert [e.severity for e in world.tick(world.kill(100))] == [Severity.INFO]


def test_a_kill_during_a_restart_is_told_aloud() -> None:
    """No `ServiceDied` follows: the death is the restart's."""
    world = World()
    world.bench.see(100, requests=REQUEST)
    assert [e.severity for e in world.tick(world.kill(100))] == [Severity.CRITICAL]


def test_a_process_of_the_tree_is_the_services() -> None:
    """Who collected its members knows, wherever its cgroup is."""
    world = World(alone=False)
    (event,) = world.tick(world.kill(group="/elsewhere", member_of=NAME))
    assert (event.service, event.severity) == (NAME, Severity.CRITICAL)


def test_a_neighbour_is_a_warning() -> None:
    """The service shares the domain and lives; the domain ran out all the same."""
    world = World(alone=False)
    world.count(PARENT)
    (event,) = world.tick(world.kill(group="/p/other", oom_memcg="/p"))
    assert (event.service, event.severity) == (NAME, Severity.WARNING)
    assert event.message.endswith("cgroup /p reached its limit of 512 MiB; worker shares it")
    assert world.causes == {"ancestor_limit": 1}


def test_a_whole_group_is_one_alarm() -> None:
    """The chosen one is told aloud, those who died with it are notes."""
    world = World()
    chosen = world.kill(group_kill=True)
    others = [world.kill(pid, group_kill=True, chosen=False) for pid in (901, 902)]
    events = world.tick(chosen, *others)
    assert [e.severity for e in events] == [Severity.CRITICAL, Severity.INFO, Severity.INFO]
    assert "with its whole cgroup" in events[0].message


def test_a_group_that_held_the_root_is_no_alarm() -> None:
    """`ServiceDied` is."""
    world = World()
    kills = [world.kill(pid, group_kill=True) for pid in (900, 100)]
    assert {e.severity for e in world.tick(*kills)} == {Severity.INFO}


def test_kills_elsewhere_are_gathered() -> None:
    """The first is told, the others a minute later in one sentence."""
    world = World()
    told = [
        [e.message for e in world.tick(world.kill(pid, "/x", oom_memcg="/x", name=f"n{pid}"))]
        for pid in (1, 2, 3)
    ]
    assert [len(messages) for messages in told] == [1, 0, 0]
    (event,) = world.tick(after_s=HUSH_S)
    assert (event.severity, event.message) == (
        Severity.INFO,
        "the kernel killed 2 more processes in cgroups that hold no guarded service: n2, n3",
    )
    assert world.tick(after_s=HUSH_S) == []
    assert world.causes == {}


def test_what_was_gathered_is_told_at_the_end() -> None:
    """Nothing is lost because the guard ends."""
    world = World()
    for pid in (1, 2):
        world.tick(world.kill(pid, "/x", oom_memcg="/x"))
    assert [e.details["kills"] for e in world.tick(ending=True)] == [1]


def test_a_kill_by_the_host_is_a_warning_for_all() -> None:
    """Its memory is everybody's."""
    world = World()
    (event,) = world.tick(world.kill(5, "/x", oom_memcg=None, scope=Domain.HOST))
    assert (event.service, event.severity) == ("", Severity.WARNING)
    assert world.causes == {}


# ---- counters alone


def test_an_unnamed_kill_is_told_after_a_wait() -> None:
    """With the reason why nobody is named, and the limit that was hit."""
    world = World()
    world.hits[OWN] = 1
    world.count(OWN, PARENT)
    reason = "/dev/kmsg must not be read"
    assert world.tick(no_names=reason) == []
    (event,) = world.tick(no_names=reason, after_s=NAME_WAIT_S)
    assert (event.service, event.severity, event.message) == (
        NAME,
        Severity.CRITICAL,
        (
            "the kernel killed 1 process in cgroup /p/worker: cgroup /p/worker reached its limit "
            "of 512 MiB (/dev/kmsg must not be read)"
        ),
    )
    assert world.causes == {"own_limit": 1}


@pytest.mark.parametrize(
    ("hit", "available_mib", "cause"),
    [
        ((PARENT,), 4096, "ancestor_limit"),
        ((OWN,), 4096, "own_limit"),
        ((OWN, PARENT), 4096, "own_limit"),
        ((), 4096, "unknown"),
        ((), 100, "host"),
        ((PARENT,), 100, "unknown"),
    ],
)
def test_the_limit_behind_an_unnamed_kill(
    hit: tuple[str, ...], available_mib: int, cause: str
) -> None:
    """What was at its limit then; when two may be meant, it is not known."""
    world = World()
    for key in hit:
        world.hits[key] += 1
    world.available_mib = available_mib
    world.count(OWN, PARENT)
    world.tick()
    (event,) = world.tick(after_s=NAME_WAIT_S)
    assert (event.details["cause"], world.causes) == (cause, {cause: 1})


def test_an_unnamed_kill_in_a_shared_domain_is_of_the_only_service_there() -> None:
    """Perhaps it was one of its processes."""
    world = World(alone=False)
    world.count(PARENT)
    world.tick()
    (event,) = world.tick(after_s=NAME_WAIT_S)
    assert (event.service, event.severity) == (NAME, Severity.CRITICAL)


def test_an_unnamed_kill_of_the_host_concerns_nobody() -> None:
    """Somewhere that is not watched."""
    world = World()
    world.count()
    world.tick()
    (event,) = world.tick(after_s=NAME_WAIT_S)
    assert (event.service, event.severity, event.message) == (
        "",
        Severity.INFO,
        (
            "the kernel killed 1 process in no cgroup that is watched: which limit was hit is not "
            "known (the kernel's log names nobody)"
        ),
    )


def test_unnamed_kills_elsewhere_are_gathered_too() -> None:
    """A number is all that is known of them."""
    world = World()
    told = []
    for _ in range(3):
        world.count()
        world.tick()
        told.append(len(world.tick(after_s=NAME_WAIT_S)))
    (event,) = world.tick(after_s=HUSH_S)
    assert (told, event.message) == (
        [1, 0, 0],
        "the kernel killed 2 more processes in cgroups that hold no guarded service",
    )


def test_shared_memory_is_told_where_there_is_some() -> None:
    """A restart does not give it back: it matters who holds it."""
    world = World()
    (event,) = world.tick(world.kill(shmem_bytes=30 * MIB))
    assert "400 MiB anonymous, 30.0 MiB shared, oom_score_adj 200" in event.message


def test_a_service_that_never_ran_owns_no_kill() -> None:
    """It has no process."""
    bench = Bench()
    bench.miss()
    bench.clock.advance(1.0)
    made = bench.hear(Heard(kills=(NamedKill(pid=100, name="app", scope=Domain.HOST),)))
    assert [e.service for e in made.events] == [""]


def test_a_domain_that_does_not_count_is_no_kill() -> None:
    """Before Linux 4.13 its counter is not known."""
    bench = Bench()
    bench.see(100)
    none = replace(limited("/p/worker"), oom_kills=None)
    bench.clock.advance(1.0)
    made = bench.hear(Heard(), sample_of(bench.clock.now(), 100), domains={OWN: none})
    assert (made.kills, made.state.kills.counters) == ((), {})


def test_a_name_that_comes_too_late_is_no_second_kill() -> None:
    """The kill was told already; the name is kept for the death that it may explain."""
    world = World()
    world.count(OWN, PARENT)
    world.tick()
    world.tick(after_s=NAME_WAIT_S)
    late = world.kill(boot_s=world.bench.clock.now().boot_s - 2.5)
    assert world.tick(late) == []
    assert [s.kill for s in world.bench.state.kills.seen if s.count] == [late]
    assert world.bench.service.record.oom_kills == 1


def test_what_a_tick_told_is_in_its_step() -> None:
    """For whoever compares it with what was foreseen."""
    world = World()
    world.bench.clock.advance(1)
    made = world.bench.hear(Heard(kills=(world.kill(),)), world.sample())
    assert [(s.service, s.cause, s.path) for s in made.kills] == [
        (NAME, KillCause.OWN_LIMIT, "/p/worker")
    ]


def test_without_a_counter_names_are_told_all_the_same() -> None:
    """Before Linux 4.13 nothing counts."""
    bench = Bench(rules=guarded())
    bench.see(100)
    bench.clock.advance(1)
    kill = NamedKill(pid=100, name="app", scope=Domain.HOST)
    made = bench.hear(Heard(kills=(kill, kill)), sample_of(bench.clock.now(), 100))
    assert [e.message for e in made.events] == [
        "the kernel killed app (pid 100), a process of worker: the host ran out of memory"
    ]
