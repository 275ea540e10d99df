"""`doctor` over trees of files: what it makes of services, cgroups and a daemon's status."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leakguard.cli._doctor_json import document
from leakguard.cli._doctor_text import lines
from leakguard.cli._output import Exit
from leakguard.cli.main import main
from leakguard.core.codec import to_plain
from leakguard.core.findings.facts import ServiceFacts, Tenant
from leakguard.core.forecast import TimeToLimit
from leakguard.core.status import LimitStatus, ThrottleStatus
from leakguard.core.trend import Verdict
from leakguard.core.units import KIB, MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs
from leakguard.linux.systemd_units import SystemdUnits
from leakguard.runtime.doctor.diagnosis import Diagnosis, Roots, Us, diagnose
from leakguard.runtime.doctor.watched import Watched, from_status, with_trends
from leakguard.testing.files import CgroupFiles, ProcFiles
from leakguard.testing.web import HOST_LIMIT, sample_status, worker

OURSELVES = 50
DAEMON = 60
SYSTEMCTL = """\
#!/bin/sh
printf 'Id=web.service\\nOOMPolicy=stop\\nRestart=no\\n\\nId=jobs.slice\\n'
"""
TABLES = 64 * KIB


class Box:
    """A machine of files: kernel threads, two services and others in cgroups of version 2."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = ProcFiles(folder / "proc", self_pid=OURSELVES)
        self.files.size(OURSELVES, tables=0)  # so that sizes below are whole
        self.meminfo()
        self.files.write("sys/kernel/osrelease", "6.1.0\n")
        self.files.write("pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
        self.files.add(2, "kthreadd", parent=0, flags=0x00200000)
        self.files.add(DAEMON, "leakguard", cgroups="0::/guard\n")
        (folder / "cgroup").mkdir()
        self.groups = CgroupFiles(folder / "cgroup", 2)
        self.groups.add("/guard", procs=[DAEMON])
        self.groups.add("/jobs", limit=512 * MIB, usage=300 * MIB)
        self.process(100, "python3", "/jobs/web.service", anon=200 * MIB)
        self.process(101, "helper", "/jobs/web.service", parent=100, anon=20 * MIB)
        self.process(110, "redis", "/jobs/redis", anon=50 * MIB)

    def meminfo(self, **changes: int) -> None:
        """Write meminfo in MiB."""
        sizes = {"MemTotal": 4096, "MemFree": 1024, "MemAvailable": 2048, "SwapTotal": 0}
        sizes |= {"SwapFree": 0, "CommitLimit": 2048, "Committed_AS": 512, **changes}
        self.files.write("meminfo", "".join(f"{k}: {v * 1024} kB\n" for k, v in sizes.items()))

    def process(self, pid: int, name: str, group: str, **values: Any) -> None:
        """Add a process in a cgroup."""
        self.files.add(pid, name, cgroups=f"0::{group}\n", start=pid, **values)
        known = self.groups.top / group.strip("/") / "cgroup.procs"
        before = known.read_text() if known.exists() else ""
        if not known.exists():
            self.groups.add(group)
        self.groups.write(group, "cgroup.procs", f"{before}{pid}\n")

    def diagnose(self, *watched: Watched, daemon: int | None = DAEMON) -> Diagnosis:
        """Look at it."""
        systemctl = self.folder / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        proc = ProcFs(str(self.files.root))
        cgroups = CgroupFs(proc, str(self.folder / "cgroup"))
        try:
            return diagnose(
                proc,
                cgroups,
                watched,
                Us(pid=OURSELVES, daemon=daemon),
                SystemdUnits(str(systemctl), runs=str(self.folder)),
                roots=Roots(sys=str(self.folder), files=str(self.folder)),
            )
        finally:
            cgroups.close()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Give the machine."""
    return Box(tmp_path)


def web(**changes: Any) -> Watched:
    """Give the service `web`, steady, with its two processes."""
    values: dict[str, Any] = {
        "name": "web",
        "pid": 100,
        "size_bytes": 220 * MIB,
        "age_s": 1000.0,
        "verdict": Verdict.STABLE,
        "trend_known": True,
    }
    return Watched(facts=ServiceFacts(**{**values, **changes}), pids=(100, 101))


def domain(diagnosis: Diagnosis, key: str) -> Any:  # noqa: ANN401  tests read its fields
    """Give one domain."""
    return next(one for one in diagnosis.domains if one.facts.key == key)


def test_a_service_is_placed(box: Box) -> None:
    """Cgroup, unit, slices, processes and the domains above it."""
    (facts,) = box.diagnose(web()).case.services
    assert facts.cgroup == "/jobs/web.service"
    assert facts.domains == ("host", "v2:/jobs")
    assert [unit.name for unit in facts.units] == ["web.service"]
    assert [(one.pid, one.name) for one in facts.processes] == [(100, "python3"), (101, "helper")]
    assert facts.processes[0].size_bytes == 200 * MIB + TABLES


def test_the_victim_is_named_with_its_service_and_unit(box: Box) -> None:
    """And what systemd would do then."""
    found = domain(box.diagnose(web()), "v2:/jobs")
    assert found.facts.victim_service == "web"
    assert "the kernel kills python3 (pid 100), which is web." in found.text
    assert "systemd then stops all of web.service" in found.text


def test_tenants_are_services_and_the_rest_by_name(box: Box) -> None:
    """Processes of one name are added up, and what they share counts once."""
    for pid in (120, 121):
        box.process(pid, "pg", "/jobs/pg", anon=10 * MIB, shmem=40 * MIB)
    (first, second, third) = domain(box.diagnose(web()), "v2:/jobs").facts.tenants
    assert first == Tenant(name="web", size_bytes=220 * MIB, processes=2, guarded=True)
    assert second == Tenant(name="pg", size_bytes=60 * MIB + 2 * TABLES, processes=2)
    assert third == Tenant(name="redis", size_bytes=50 * MIB + TABLES)


def test_this_command_counts_for_nothing(box: Box) -> None:
    """It has ended before memory runs out."""
    box.files.add(OURSELVES, "leakguard", anon=900 * MIB)
    host = domain(box.diagnose(daemon=None), "host").facts
    assert host.prediction.victim.name == "python3"
    assert all(tenant.size_bytes < 900 * MIB for tenant in host.tenants)


def test_what_a_domain_holds_is_what_it_cannot_drop(box: Box) -> None:
    """File pages are taken off in a cgroup, and on the host what is available."""
    box.groups.add("/jobs", limit=512 * MIB, usage=300 * MIB, stat={"inactive_file": 60 * MIB})
    found = box.diagnose()
    assert domain(found, "v2:/jobs").facts.held.used_bytes == 240 * MIB
    assert domain(found, "v2:/jobs").facts.held.capacity_bytes == 512 * MIB
    assert domain(found, "host").facts.held.used_bytes == 2048 * MIB


def test_used_swap_is_part_of_what_the_host_holds(box: Box) -> None:
    """And all of it is part of what it can hold."""
    box.meminfo(SwapTotal=1024, SwapFree=768)
    host = domain(box.diagnose(), "host").facts
    assert (host.held.used_bytes, host.held.capacity_bytes) == (
        (2048 + 256) * MIB,
        (4096 + 1024) * MIB,
    )


def test_a_zfs_cache_is_not_held(box: Box) -> None:
    """It is given back, though MemAvailable does not know."""
    box.files.write("spl/kstat/zfs/arcstats", f"size 4 {1100 * MIB}\nc_min 4 {100 * MIB}\n")
    host = domain(box.diagnose(), "host").facts
    assert (host.held.used_bytes, host.held.capacity_bytes) == (1048 * MIB, 4096 * MIB)


def test_zram_counts_what_it_holds_not_what_it_takes(box: Box) -> None:
    """512 MiB in zram take 128 MiB of RAM; the free half of it is worth three quarters."""
    box.meminfo(SwapTotal=1024, SwapFree=512)
    box.files.write(
        "swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1048576 524288 1\n"
    )
    stat = box.folder / "block" / "zram0" / "mm_stat"
    stat.parent.mkdir(parents=True)
    stat.write_text(f"{512 * MIB} {120 * MIB} {128 * MIB} 0 0 0 0 0\n")
    host = domain(box.diagnose(), "host").facts
    assert host.held.used_bytes == (2048 + 512 - 128) * MIB
    assert host.held.capacity_bytes == host.held.used_bytes + (2048 + 384) * MIB
    assert host.held.fast_bytes == host.held.capacity_bytes


def test_under_overcommit_2_the_host_holds_promises(box: Box) -> None:
    """Committed_AS of CommitLimit."""
    box.files.write("sys/vm/overcommit_memory", "2\n")
    host = domain(box.diagnose(), "host")
    assert (host.facts.held.used_bytes, host.facts.held.capacity_bytes) == (512 * MIB, 2048 * MIB)
    assert "Then nobody is killed: allocations fail with ENOMEM" in host.text


def test_a_group_kill_is_found_above_the_service(box: Box) -> None:
    """With the names of all who would die."""
    box.groups.write("/jobs", "memory.oom.group", "1\n")
    found = box.diagnose(web())
    (facts,) = found.case.services
    assert facts.group_kill is not None
    assert facts.group_kill.path == "/jobs"
    assert facts.group_kill.names == ("web", "redis")
    assert domain(found, "v2:/jobs").facts.group_kill == "/jobs"
    assert "oom_group" in {finding.key for finding in found.findings}


def test_the_daemon_in_the_cgroup_of_its_target(box: Box) -> None:
    """It is found by its own cgroup, not by its tree."""
    box.process(DAEMON, "leakguard", "/jobs/web.service")
    found = box.diagnose(web())
    assert domain(found, "v2:/jobs").facts.guard_inside is True
    assert "guard_in_target_cgroup" in {finding.key for finding in found.findings}


def test_a_daemon_that_ended_is_not_judged(box: Box) -> None:
    """Nothing can be said of it then."""
    assert box.diagnose(daemon=999).case.guard is None


def test_a_protection_is_traced_to_the_parent(box: Box) -> None:
    """The parent has it too, so it came from there."""
    box.files.add(90, "sshd", adj=-1000)
    box.process(100, "python3", "/jobs/x", parent=90, anon=200 * MIB, adj=-1000)
    found = box.diagnose(web())
    assert found.case.services[0].processes[0].parent == "sshd (pid 90)"
    (finding,) = [f for f in found.findings if f.key == "adj_inherited"]
    assert "sshd (pid 90)" in finding.why


def test_a_leak_is_projected_to_the_end_of_its_domain(box: Box) -> None:
    """The largest now is not the largest then."""
    box.process(130, "big", "/jobs/big", anon=240 * MIB)
    leaking = web(verdict=Verdict.LEAKING, slope_bytes_per_s=float(MIB))
    now, later = box.diagnose(web()), box.diagnose(leaking)
    assert domain(now, "v2:/jobs").facts.prediction.victim.name == "big"
    assert domain(later, "v2:/jobs").facts.prediction.victim.name == "python3"
    assert [cause.key for cause in domain(later, "v2:/jobs").causes] == ["leak"]


def test_a_service_that_is_not_seen_keeps_what_was_told(box: Box) -> None:
    """Its domains are known by the paths of its limits."""
    told = Watched(
        facts=replace(web().facts, reached_s={"host": (None, None), "/jobs": (1.0, 2.0)})
    )
    (facts,) = box.diagnose(told).case.services
    assert (facts.processes, facts.domains) == ((), ("host", "v2:/jobs"))


def test_a_container_is_known_by_its_path(box: Box) -> None:
    """The short form of its id."""
    box.process(100, "python3", f"/docker/{'ab' * 32}", anon=200 * MIB)
    assert box.diagnose(web()).case.services[0].container == "ab" * 6


def status(*services: Any) -> Mapping[str, Any]:
    """Give a daemon's status as it comes through the socket."""
    plain: Mapping[str, Any] = to_plain(sample_status(services=services))
    return plain


def test_a_status_is_read(box: Box) -> None:
    """Size, trend, times to the limits, and the tree below its pid."""
    proc = ProcFs(str(box.files.root))
    (found,) = from_status(status(worker(pid=100)), proc, visible=True)
    assert found.pids == (100, 101)
    assert found.facts.name == "worker"
    assert found.facts.size_bytes == 812 * MIB
    assert found.facts.verdict is Verdict.LEAKING
    assert found.facts.trend_known is True
    assert found.facts.reached_s == {"/jobs/worker": (16800.0, None), "host": (None, None)}
    assert found.facts.held_by == ""


def test_pids_of_another_namespace_are_not_looked_up(box: Box) -> None:
    """They would be somebody else's."""
    proc = ProcFs(str(box.files.root))
    (found,) = from_status(status(worker(pid=100)), proc, visible=False)
    assert (found.pids, found.facts.pid) == ((), 100)
    (gone,) = from_status(status(worker(pid=4242)), proc, visible=True)
    assert gone.pids == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "observe"}, "`mode: act`"),
        ({"driver": ""}, "`restart.driver`"),
        ({"paused": "paused by alice until it is resumed"}, "it is paused by alice"),
        ({"breaker_open": True}, "its breaker is open"),
        ({"cannot_act": ("no right to signal it: run as root",)}, "no right to signal it"),
    ],
)
def test_why_nobody_would_act_is_told(box: Box, changes: dict[str, Any], words: str) -> None:
    """Whatever would hold a restart back for good."""
    (found,) = from_status(status(worker(**changes)), ProcFs(str(box.files.root)), visible=True)
    assert words in found.facts.held_by


def test_other_measures_are_turned_into_what_a_restart_gives_back(box: Box) -> None:
    """anon + shmem + swap, where they are known."""
    proc = ProcFs(str(box.files.root))
    changes = {"measure": "rss", "anon_bytes": 5 * MIB, "shmem_bytes": MIB, "swap_bytes": None}
    (parts,) = from_status(status(worker(**changes)), proc, visible=True)
    (whole,) = from_status(status(worker(measure="rss", anon_bytes=None)), proc, visible=True)
    assert (parts.facts.size_bytes, whole.facts.size_bytes) == (6 * MIB, 812 * MIB)


def test_ends_that_are_no_kill_are_read_too(box: Box) -> None:
    """CommitLimit is the end of the host then, and `memory.high` alone that of a cgroup."""
    times = TimeToLimit(p05_s=60.0, p50_s=90.0, p95_s=120.0)
    commit = LimitStatus(
        kind="commit", path="", limit_bytes=MIB, headroom_bytes=MIB, time_to_limit=times
    )
    high = ThrottleStatus(
        path="/jobs", high_bytes=MIB, headroom_bytes=MIB, limited=False, now=False,
        time_to_throttle=times,
    )  # fmt: skip
    service = worker(limits=(HOST_LIMIT, commit), throttle=high)
    (found,) = from_status(status(service), ProcFs(str(box.files.root)), visible=True)
    assert found.facts.reached_s == {"host": (60.0, 120.0), "/jobs": (60.0, 120.0)}


def test_a_status_of_another_version_is_read_as_far_as_it_goes(box: Box) -> None:
    """Missing fields are unknown, and so is a verdict that nobody knows here."""
    proc = ProcFs(str(box.files.root))
    (found,) = from_status({"services": [{"name": "a", "verdict": "odd"}]}, proc, visible=True)
    assert found.facts.verdict is Verdict.UNKNOWN
    assert found.facts.size_bytes is None
    assert from_status({}, proc, visible=True) == ()


def test_trends_are_joined_by_pid_and_by_name() -> None:
    """The sizes are those just measured, the trend is the daemon's."""
    measured = web(verdict=Verdict.UNKNOWN, trend_known=False, size_bytes=MIB)
    told = web(name="web:1", verdict=Verdict.LEAKING, slope_bytes_per_s=1.0)
    (by_pid,) = with_trends([measured], [told])
    (by_name,) = with_trends([measured], [web(pid=7, verdict=Verdict.STABLE)])
    (alone,) = with_trends([measured], [web(name="other", pid=7)])
    assert (by_pid.facts.name, by_pid.facts.verdict) == ("web:1", Verdict.LEAKING)
    assert (by_pid.facts.size_bytes, by_pid.facts.trend_known) == (MIB, True)
    assert by_name.facts.verdict is Verdict.STABLE
    assert alone.facts == measured.facts


def test_the_document_is_whole(box: Box) -> None:
    """What scripts read, with its exit in `ok`."""
    found = document(box.diagnose(web()), {"pid": DAEMON})
    assert sorted(found) == [
        "daemon", "domains", "findings", "guard", "machine", "notes", "ok", "services", "worst",
    ]  # fmt: skip
    assert (found["daemon"], found["ok"]) == (DAEMON, True)
    host, jobs = found["domains"]
    assert (host["kind"], host["version"], jobs["path"]) == ("host", None, "/jobs")
    assert jobs["victim"] == {
        "pid": 100,
        "name": "python3",
        "oom_score_adj": 0,
        "rss_pages": 200 * MIB // 4096,
    }
    assert (jobs["victim_service"], jobs["victim_unit"]) == ("web", "web.service")
    assert found["services"][0]["leaked_bytes"] == 0
    assert document(box.diagnose(), None)["daemon"] is None


def test_the_report_of_a_calm_machine(box: Box) -> None:
    """What would happen, that no cause is seen, and the settings, within 88 columns."""
    shown = list(lines(box.diagnose(web())))
    assert shown[:2] == ["When memory runs out", "host: 4.00 GiB RAM, no swap"]
    assert "cgroup /jobs: 512 MiB limit" in shown
    text = " ".join(" ".join(shown).split())
    assert "None is seen: no limited cgroup is nearly full, 2.00 GiB (50 %) of the host" in text
    assert "warning web.service has OOMPolicy=stop" in text
    assert shown[-1].startswith("0 critical, ")
    assert max(map(len, shown)) <= 88


def test_a_leak_is_shown_once(box: Box) -> None:
    """For the domain that it fills first; --json has it for both."""
    leaking = web(verdict=Verdict.LEAKING, slope_bytes_per_s=1000.0, held_by="nobody can")
    found = box.diagnose(leaking)
    text = " ".join(" ".join(lines(found)).split())
    assert text.count("web leaks") == 1
    assert "alone it fills cgroup /jobs" in text
    assert [len(one.causes) for one in found.domains] == [1, 1]
    loud = [one.severity.value for one in (*found.findings, *found.domains[1].causes)]
    assert text.endswith(
        f"{loud.count('critical')} critical, {loud.count('warning')} warnings, "
        f"{loud.count('info')} hints"
    )


def test_many_cgroups_are_counted_not_shown(box: Box) -> None:
    """The guarded one is; empty ones are not; --json has them all."""
    for number in range(20):
        box.groups.add(f"/other{number}", limit=64 * MIB)
    for number in range(12):
        box.process(200 + number, "app", f"/other{number}/app", anon=MIB)
    shown = list(lines(box.diagnose(web())))
    assert "cgroup /jobs: 512 MiB limit" in shown
    assert sum(line.startswith("cgroup /other") for line in shown) == 3
    assert "and 17 more cgroups with a limit: --json has them all" in shown


def test_nothing_to_read_is_a_matter_of_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a /proc there is no diagnosis, and no empty one either: exit 77."""
    monkeypatch.setattr("leakguard.cli.doctor.PROC", str(tmp_path))
    monkeypatch.setenv("LEAKGUARD_SOCKET", str(tmp_path / "none.sock"))
    assert main(["doctor", "--json"]) == Exit.PERMISSION
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("leakguard: nothing can be read here: ")


def test_its_help_fits_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """With examples and the meaning of the exit codes."""
    assert main(["doctor", "--help"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 24
    assert "Examples:" in out
    assert "77 nothing could be" in out


def test_every_key_is_documented() -> None:
    """A script may rely on the keys that docs/doctor.md lists, and on no other."""
    root = Path(__file__).parents[2]
    sources = (root / "leakguard" / "core" / "findings").glob("*.py")
    keys = {key for path in sources for key in re.findall(r'key="(\w+)"', path.read_text())}
    page = (root / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:info|warning|critical)", page, re.MULTILINE)
    assert sorted(rows) == sorted(keys)
