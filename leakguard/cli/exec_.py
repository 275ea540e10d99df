"""`leakguard exec`: one command under guard, with its exit code; no file needed."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click

from leakguard.cli._options import Duration, check_writable
from leakguard.cli._output import talk
from leakguard.cli._runnable import check_socket, why_not_run
from leakguard.core.errors import PermissionRefused, UnitError, UsageError
from leakguard.core.events import Event, EventKind, Severity
from leakguard.core.plan import HttpPlan, Plan, PluginSpec, ServicePlan, StatePlan
from leakguard.core.policy import (
    ForecastRule,
    GuardRules,
    Mode,
    Pacing,
    Policy,
    Respawn,
    RestartRules,
    ScheduleRule,
    ServiceRules,
    ThresholdRule,
)
from leakguard.core.sample import Measure
from leakguard.core.units import Amount, parse_amount, parse_bytes, parse_duration
from leakguard.runtime.clock import SystemClock

HARD_SHARE = 0.9
"""`--limit X` also means: above 90 % of X restart at once, whatever the forecast says."""
START_UP_S = 2.0
"""Whoever names a limit for one command wants it kept: a fast fill is stopped, start or not."""

NAME = re.compile(r"[A-Za-z0-9_.@-]+")
NOT_NAME = re.compile(r"[^A-Za-z0-9_.@-]")
DEADLINE_S = 60.0
STOP_RESERVE_S = 5.0

EPILOG = """\b
Examples:
  leakguard exec --limit 512MiB -- python3 worker.py
  leakguard exec --limit 1GiB --schedule '0 3 * * *' --restart always -- ./server --port 80
  leakguard exec --limit 512MiB --cgroup -- ./worker
"""


class Restarts(click.ParamType[GuardRules]):
    """`20/1h`: how many restarts within which time."""

    name = "restarts"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> GuardRules:
        """Read count and time."""
        count, _, per = str(value).partition("/")
        try:
            found = GuardRules(max_restarts=int(count), per_s=parse_duration(per))
        except ValueError:
            self.fail(f"{value!r} is not COUNT/DURATION, such as 20/1h", param, ctx)
        if found.max_restarts < 1 or found.per_s <= 0:
            self.fail(f"{value!r} must be at least one restart in some time", param, ctx)
        return found


class Size(click.ParamType[Amount]):
    """A size (`900MiB`) or, where it makes sense, a share of the limit (`80%`)."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Amount:
        """Read the text; click reports what is wrong with it."""
        try:
            return parse_amount(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)


@click.command("exec", epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.argument("cmd", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--limit", metavar="SIZE", help="What CMD may use. Nothing is enforced.")
@click.option("--threshold", metavar="SIZE|%", type=Size(), help="Restart above this.")
@click.option("--cgroup", "own_cgroup", is_flag=True,
              help="Enforce --limit by a memory cgroup of its own.")  # fmt: skip
@click.option("--measure", type=click.Choice([m.value for m in Measure]), default="auto",
              show_default=True, help="Which number counts.")  # fmt: skip
@click.option("--schedule", metavar="CRON", help="Restart at these times, local time zone.")
@click.option("--max-age", metavar="DURATION", type=Duration(), help="Restart when this old.")
@click.option("--grace", metavar="DURATION", type=Duration(), default="1m", show_default=True,
              help="What can wait waits this long after a start.")  # fmt: skip
@click.option("--max-restarts", metavar="COUNT/TIME", type=Restarts(), default="20/1h",
              show_default=True, help="Then only watch and tell.")  # fmt: skip
@click.option("--stop-wait", metavar="DURATION", type=Duration(), default="10s",
              show_default=True, help="From TERM to KILL.")  # fmt: skip
@click.option("--restart", type=click.Choice([r.value for r in Respawn]), default="never",
              show_default=True, help="What to do when CMD ends by itself.")  # fmt: skip
@click.option("--sample-every", metavar="DURATION", type=Duration(), default="10s",
              show_default=True, help="At rest; near a limit it is faster.")  # fmt: skip
@click.option("--name", metavar="NAME", help="Name of the service.  [default: that of CMD]")
@click.option("--socket", metavar="PATH", help="Serve the control socket here.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines on stderr only.")
@click.option("--record", metavar="FILE", help="Write a recording for `leakguard replay`.")
def command(**options: Any) -> int:  # click passes what is declared above
    """Run CMD, and restart it gracefully before its memory runs out.

    stdin and stdout are CMD's own. The exit code is CMD's: 128+n for a signal, 127 when it is not
    found, 126 when it cannot be run. Signals are passed on; TERM and INT end CMD.
    """
    limit = _limit(options["limit"])
    name = _name(options)
    rules = _checked(options, name, limit)
    unfit = why_not_run(options["cmd"][0], os.environ)
    if unfit is None:
        _become_guard(options, rules, _make_cgroup(name, limit) if options["own_cgroup"] else "")
    return _cannot_run(name, *unfit, as_json=options["as_json"])


def _name(options: dict[str, Any]) -> str:
    """Name the service as asked, or after its command as far as its letters allow."""
    if options["name"] is not None:
        return str(options["name"])
    command = Path(options["cmd"][0]).name
    return NOT_NAME.sub("_", command) or "command"


def _become_guard(options: dict[str, Any], rules: ServiceRules, cgroup: str) -> NoReturn:
    from leakguard.runtime.handover import Launch, Options, become_daemon

    private, record = tempfile.mkdtemp(prefix="leakguard-"), options["record"]
    service = ServicePlan(
        rules=rules,
        target=PluginSpec(key="child", options={"argv": list(options["cmd"]), "cgroup": cgroup}),
        driver=PluginSpec(key="child", options={"stop": _stop_sequence(options["stop_wait"])}),
        where="the command line",
    )
    become_daemon(
        Launch(
            plan=_plan(service, options, private),
            options=Options(
                events_to="stderr" if options["as_json"] else "",
                log_level="off" if options["as_json"] else "warning",
                record=str(Path(record).resolve()) if record else "",
                alone=rules.name,
                temporary=private,
                cgroup=cgroup,
            ),
        )
    )


def _cannot_run(name: str, code: int, why: str, *, as_json: bool) -> int:
    """Say in one line, or as one event, that the command was not even started."""
    if not as_json:
        talk(f"leakguard: {why}")
        return code
    event = Event(
        id="exec-1",
        kind=EventKind.RESTART_FAILED,
        service=name,
        wall_s=SystemClock().now().wall_s,
        severity=Severity.CRITICAL,
        message=f"cannot start {name}: {why}",
        details={"exit_code": code},
    )
    talk(json.dumps(event.to_line(), ensure_ascii=False, separators=(",", ":")))
    return code


def _checked(options: dict[str, Any], name: str, limit: int | None) -> ServiceRules:
    """Refuse what cannot work, before anything is made that would have to be cleaned up."""
    if not options["cmd"][0]:
        raise UsageError("CMD is empty: name the command to run")
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: use letters, digits and _ . @ - only")
    if options["sample_every"] <= 0:
        raise UsageError("--sample-every must be more than nothing, such as 10s")
    if options["record"]:
        check_writable(options["record"])
    if options["socket"]:
        check_socket(options["socket"])
    return _rules(options, name, limit)


def _plan(service: ServicePlan, options: dict[str, Any], private: str) -> Plan:
    """Give a plan with temporary state, a private socket and no TCP port."""
    return Plan(
        host=os.uname().nodename,
        services=(service,),
        http=HttpPlan(listen=""),
        state=StatePlan(path=""),
        socket_path=options["socket"] or f"{private}/leakguard.sock",
        shutdown_grace_s=options["stop_wait"] + STOP_RESERVE_S,
    )


def _stop_sequence(wait_s: float) -> list[dict[str, Any]]:
    return [{"signal": "TERM", "wait": wait_s}, {"signal": "KILL", "wait": 0.0}]


def _rules(options: dict[str, Any], name: str, limit: int | None) -> ServiceRules:
    threshold = options["threshold"]
    if threshold is None and limit is not None:
        threshold = Amount(size_bytes=int(HARD_SHARE * limit))
    guards: GuardRules = options["max_restarts"]
    return ServiceRules(
        name=name,
        mode=Mode.ACT,
        measure=Measure(options["measure"]),
        limit=Amount(size_bytes=limit) if limit is not None else None,
        policy=Policy(
            threshold=ThresholdRule(above=threshold) if threshold is not None else None,
            forecast=ForecastRule(start_up_s=START_UP_S),
            schedules=_schedules(options["schedule"]),
            max_age_s=options["max_age"],
        ),
        guards=GuardRules(
            grace_s=options["grace"], max_restarts=guards.max_restarts, per_s=guards.per_s
        ),
        pacing=Pacing(idle_s=options["sample_every"]),
        restart=RestartRules(
            driver="child",
            deadline_s=DEADLINE_S + options["stop_wait"],
            starts=True,
            respawn=Respawn(options["restart"]),
        ),
    )


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        limit = parse_bytes(text)
    except UnitError as error:
        raise UsageError(f"--limit: {error}") from error
    if limit <= 0:
        raise UsageError(f"--limit: {text} leaves no room: give what CMD may use")
    return limit


def _schedules(expression: str | None) -> tuple[ScheduleRule, ...]:
    if expression is None:
        return ()
    from leakguard import cron

    try:
        normal = cron.parse(expression)
    except ValueError as error:
        raise UsageError(f"--schedule: {error}") from error
    return (ScheduleRule(cron=normal, timezone=_timezone()),)


def _timezone() -> str:
    from leakguard.config.environment import local_timezone

    return local_timezone(os.environ)


def _make_cgroup(name: str, limit: int | None) -> str:
    """Make a memory cgroup with the limit; the daemon removes it at the end."""
    if limit is None:
        raise UsageError("--cgroup enforces --limit: give --limit SIZE too")
    from leakguard.linux.cgroupfs import CgroupFs
    from leakguard.linux.own_cgroup import CgroupRefused, OwnCgroup, usual_parents
    from leakguard.linux.procfs import ProcFs

    refused = "there is no memory cgroup here"
    for parent in usual_parents(CgroupFs(ProcFs()), os.getpid()):
        try:
            group = OwnCgroup(parent, f"leakguard-{name}-{os.getpid()}", limit)
        except CgroupRefused as error:
            refused = str(error)
        else:
            return str(group.directory)
    raise PermissionRefused(f"--cgroup: {refused}: run as root, or leave --cgroup out")
