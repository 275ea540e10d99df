"""A recording with kills replays to the same events and decisions, byte for byte."""

import json
from dataclasses import replace
from pathlib import Path

from leakguard.core.codec import from_plain, to_plain
from leakguard.core.engine import Inputs, Rules, Step, step
from leakguard.core.kill_book import NAME_WAIT_S
from leakguard.core.kills import NamedKill
from leakguard.core.oomlog.report import Domain
from leakguard.core.plan import Plan, PluginSpec, ServicePlan
from leakguard.core.policy import Policy, Respawn, RestartRules, ServiceRules
from leakguard.core.sample import Absent, DomainSample, HostSample, Reading, Snapshot
from leakguard.core.state import State
from leakguard.core.units import MIB
from leakguard.runtime.record import RecordedRules, Recorder
from leakguard.runtime.replay import engine_rules, replay
from leakguard.testing.bench import NAME, guarded, sample_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

CHILD = RestartRules(driver="child", starts=True, respawn=Respawn.ALWAYS)
KILL = NamedKill(
    pid=100, name="app", scope=Domain.MEMCG, oom_memcg="/p", task_memcg="/p/w", limit_bytes=64 * MIB
)


def plan() -> Plan:
    """Guard one child without a policy."""
    rules: ServiceRules = guarded(Policy(forecast=None), restart=CHILD)
    return Plan(host="h", services=(ServicePlan(rules=rules, target=PluginSpec(key="child")),))


def lives(clock: FakeClock) -> list[Inputs]:
    """A named kill of the root, one of a neighbour without a name, and the wait after each."""

    def tick(
        *readings: Reading, kills: tuple[NamedKill, ...] = (), counted: int, host: int
    ) -> Inputs:
        now = clock.now()
        domain = DomainSample(
            path="/p", version=2, limit_bytes=64 * MIB, usage_bytes=MIB, oom_kills=counted
        )
        snapshot = Snapshot(
            at=now,
            readings=readings,
            domains={"v2:/p": domain},
            host=HostSample(total_bytes=4 * MIB, available_bytes=MIB, oom_kills=host),
            kill_counts={"v2:/p/w": min(counted, 1)},
        )
        return Inputs(now=now, snapshot=snapshot, kills=kills, kill_names="")

    def seen(pid: int) -> Reading:
        made = sample_of(clock.advance(1.0), 10, run=run_of(pid), age_s=0.1, domains=("v2:/p",))
        return replace(made, cgroup="v2:/p/w", alone=True)

    found = [tick(seen(100), counted=0, host=9)]
    gone = Absent(service=NAME, at=clock.advance(1.0), reason="ended", exit_code=137)
    found.append(tick(gone, kills=(KILL,), counted=1, host=10))
    found.append(tick(seen(101), counted=1, host=10))
    found.append(tick(seen(101), counted=2, host=11))
    clock.advance(NAME_WAIT_S)
    found.append(tick(seen(101), counted=2, host=11))
    return found


def test_a_recording_with_kills_replays(tmp_path: Path) -> None:
    """The decisions that were recorded are those of the replay."""
    file, made = record(tmp_path)
    ticks = list(replay(file.read_text().splitlines(keepends=True)))
    assert [t.decisions for t in ticks] == [t.recorded for t in ticks]
    assert [d["trigger"] for t in ticks for d in t.decisions] == ["respawn"]
    kinds = [event.kind.value for one in made for event in one.events]
    assert (kinds.count("OomKillObserved"), kinds.count("ServiceDied")) == (2, 1)


def test_each_tick_comes_out_the_same_from_its_plain_form(tmp_path: Path) -> None:
    """Events, alerts and state too: whatever is kept between ticks survives the file."""
    _, made = record(tmp_path)
    rules: Rules = engine_rules(RecordedRules.of(plan()))
    state = json.dumps(to_plain(State(instance="r")))
    for inputs, before in zip(lives(FakeClock()), made, strict=True):
        plain = from_plain(Inputs, json.loads(json.dumps(to_plain(inputs))))
        again = step(from_plain(State, json.loads(state)), plain, rules)
        assert json.dumps(to_plain(again)) == json.dumps(to_plain(before))
        state = json.dumps(to_plain(again.state))


def record(tmp_path: Path) -> tuple[Path, list[Step]]:
    """Run the life with a recorder; give the file and what each tick made."""
    file, state, made = tmp_path / "recording", State(instance="r"), []
    recorder, rules = Recorder(file, plan(), state), engine_rules(RecordedRules.of(plan()))
    for inputs in lives(FakeClock()):
        one = step(state, inputs, rules)
        recorder.tick(inputs, one)
        state = one.state
        made.append(from_plain(Step, json.loads(json.dumps(to_plain(one)))))
    recorder.close()
    return file, made
