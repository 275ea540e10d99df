"""The command group: names and one-line helps are here, so that `--help` imports no command."""

import contextlib
import difflib
import importlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from leakguard import __version__
from leakguard.cli._output import Exit, complain
from leakguard.core.errors import LeakguardError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("run:command", "Guard the services of a configuration file."),
    "exec": ("exec_:command", "Run one command under guard, as a wrapper round it."),
    "demo": ("demo:command", "Watch a leak being caught, in a minute."),
    "check": ("check:command", "Check a configuration and what it matches on this machine."),
    "schema": ("schema:command", "Print the JSON schema of the configuration."),
    "status": ("status:command", "Show every service: memory, limit, time to limit, decision."),
    "why": ("why:command", "Explain one service: what was seen, what was decided, what is next."),
    "history": ("history:command", "List what happened, newest last."),
    "victims": ("victims:command", "Tell whom the kernel would kill, domain by domain."),
    "oom-log": ("oom_log:command", "Tell whom the kernel killed, from any kernel log."),
    "forecast": ("forecast:command", "Judge recorded series as the guard would have."),
    "doctor": ("doctor:command", "Tell what happens here when memory runs out, and why."),
    "restart": ("restart:command", "Restart one service now and wait for the outcome."),
    "pause": ("pause:command", "Take one service out of automatic restarts."),
    "resume": ("resume:command", "Put a service back under guard and close its breaker."),
    "notify": ("notify:command", "Send or show a test alert on every channel."),
    "plugins": ("plugins_:command", "List drivers, targets, notifiers and detectors."),
    "health": ("_health_command:command", "Ask whether the daemon is alive: exit 0 or 1."),
    "backtest": ("backtest:command", "Tell what a configuration would have come to."),
    "replay": ("replay:command", "Run a recording again and print the decisions."),
}
"""Name → module and attribute under `leakguard.cli`, and the line that `--help` shows."""

EPILOG = """\b
Examples:
  leakguard exec --limit 512MiB -- python3 worker.py
  leakguard check -c config.yaml
  leakguard status
"""


class ReaderGone(Exception):  # noqa: N818  what happened, not a fault of ours
    """Whoever read stdout or stderr has closed it; click would end the process for BrokenPipe."""


@contextlib.contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error


class LazyGroup(click.Group):
    """Imports a command's module only when that command is called."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line; `--help` and `--version` print here."""
        with _past_click():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        with _past_click():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what stands before the command; an option that belongs behind it is told so."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            right = self._reordered(ctx, error.option_name, given)
            if right is None:
                raise
            raise click.UsageError(
                f"{error.option_name} belongs after the command: {right}", ctx
            ) from error

    def _reordered(self, ctx: click.Context, option: str, given: list[str]) -> str | None:
        """Give the command line with its options behind the command, None when that is not it."""
        at = next((i for i, word in enumerate(given) if word in COMMANDS), None)
        if at is None:
            return "leakguard COMMAND " + shlex.join(given)
        command = self.get_command(ctx, given[at])
        known = {name for parameter in command.params for name in parameter.opts} if command else ()
        if option not in known:
            return None
        return shlex.join(["leakguard", given[at], *given[:at], *given[at + 1 :]])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"leakguard.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"leakguard.cli.{module}.{attribute} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a typo names the right one."""
        if args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else " See `leakguard --help`."
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [ARGS]…",
)
@click.version_option(__version__, prog_name="leakguard", message="%(prog)s %(version)s")
def group() -> None:
    """Watch services that leak memory and restart them before it runs out."""


def run(args: Sequence[str]) -> int:
    """Run one command line and turn whatever it raises into an exit code."""
    try:
        result = group.main(list(args), prog_name="leakguard", standalone_mode=False)
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LeakguardError as error:
        return complain(error)
    except ReaderGone as error:
        raise BrokenPipeError from error
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk behind stdout, mostly
        return complain(LeakguardError(f"{error.filename or 'output'}: {error.strerror}"))
    return int(result) if isinstance(result, int) else Exit.OK
