"""`leakguard exec`: one command under guard, with its exit code; no file needed."""

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from leakguard.cli._options import Duration
from leakguard.core.errors import UnitError, UsageError
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

HARD_SHARE = 0.9
"""`--limit X` also means: above 90 % of X restart at once, whatever the forecast says."""

DEADLINE_S = 60.0

EPILOG = """\b
Examples:
  leakguard exec --limit 512MiB -- python3 worker.py
  leakguard exec --limit 1GiB --schedule '0 3 * * *' --restart always -- ./server --port 80
  leakguard exec --limit 512MiB --cgroup /sys/fs/cgroup/worker -- ./worker
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
            return GuardRules(max_restarts=int(count), per_s=parse_duration(per))
        except ValueError:
            self.fail(f"{value!r} is not COUNT/DURATION, such as 20/1h", param, ctx)


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


@click.command(
    "exec", epilog=EPILOG, context_settings={"ignore_unknown_options": False}
)
@click.argument("cmd", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--limit", metavar="SIZE", help="What CMD may use. Nothing is enforced.")
@click.option("--threshold", metavar="SIZE|%", type=Size(), help="Restart above this.")
@click.option("--cgroup", metavar="DIR", help="Put CMD into this memory cgroup; --limit sets its.")
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
def command(**options: Any) -> None:  # click passes what is declared above
    """Run CMD, and restart it gracefully before its memory runs out.

    stdin and stdout are CMD's own. The exit code is CMD's (128+n for a signal). Signals are
    passed on; TERM and INT end CMD by its stop sequence.
    """
    from leakguard.runtime.handover import Launch, Options, become_daemon

    private = tempfile.mkdtemp(prefix="leakguard-")
    plan = _plan(options, private)
    record = options["record"]
    become_daemon(
        Launch(
            plan=plan,
            options=Options(
                events_to="stderr" if options["as_json"] else "",
                log_level="off" if options["as_json"] else "warning",
                record=str(Path(record).resolve()) if record else "",
                alone=plan.services[0].rules.name,
                temporary=private,
            ),
        )
    )


def _plan(options: dict[str, Any], private: str) -> Plan:
    limit = _limit(options["limit"])
    name = options["name"] or Path(options["cmd"][0]).name
    child: dict[str, Any] = {"argv": list(options["cmd"])}
    if options["cgroup"]:
        child["cgroup"] = options["cgroup"]
        _limit_cgroup(options["cgroup"], limit)
    stop = [{"signal": "TERM", "wait": options["stop_wait"]}, {"signal": "KILL", "wait": 0.0}]
    service = ServicePlan(
        rules=_rules(options, name, limit),
        target=PluginSpec(key="child", options=child),
        driver=PluginSpec(key="child", options={"stop": stop}),
        where="the command line",
    )
    return Plan(
        host=os.uname().nodename,
        services=(service,),
        http=HttpPlan(listen=""),
        state=StatePlan(path=""),
        socket_path=options["socket"] or f"{private}/leakguard.sock",
        shutdown_grace_s=options["stop_wait"] + 5.0,
    )


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
            forecast=ForecastRule(),
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
        return parse_bytes(text)
    except UnitError as error:
        raise UsageError(f"--limit: {error}") from error


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


def _limit_cgroup(directory: str, limit: int | None) -> None:
    """Make the cgroup when it is not there, and set its limit when one is given."""
    path = Path(directory)
    try:
        path.mkdir(exist_ok=True)
        if limit is None:
            return
        v2 = path / "memory.max"
        file = v2 if v2.exists() else path / "memory.limit_in_bytes"
        file.write_text(str(limit), encoding="ascii")
    except OSError as error:
        raise UsageError(
            f"--cgroup {directory}: {error.strerror}: name a directory below a memory cgroup"
            " that you may write, or leave --cgroup out"
        ) from error
