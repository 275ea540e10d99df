"""The command group: names and one-line helps are here, so that `--help` imports no command."""

import difflib
import importlib
from collections.abc import Mapping, Sequence

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
    "restart": ("restart:command", "Restart one service now and wait for the outcome."),
    "pause": ("pause:command", "Take one service out of automatic restarts."),
    "resume": ("resume:command", "Put a service back under guard and close its breaker."),
    "notify": ("notify:command", "Send or show a test alert on every channel."),
    "plugins": ("plugins_:command", "List drivers, targets, notifiers and detectors."),
    "health": ("_health_command:command", "Ask whether the daemon is alive: exit 0 or 1."),
    "replay": ("replay:command", "Run a recording again and print the decisions."),
}
"""Name → module and attribute under `leakguard.cli`, and the line that `--help` shows."""

EPILOG = """\b
Examples:
  leakguard exec --limit 512MiB -- python3 worker.py
  leakguard check -c config.yaml
  leakguard status
"""


class LazyGroup(click.Group):
    """Imports a command's module only when that command is called."""

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
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk behind stdout, mostly
        return complain(LeakguardError(f"{error.filename or 'output'}: {error.strerror}"))
    return int(result) if isinstance(result, int) else Exit.OK
