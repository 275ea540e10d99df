"""`leakguard health` as click sees it; the command line itself never gets here."""

import click

from leakguard.cli import health


@click.command(
    "health",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(args: tuple[str, ...]) -> int:
    """Ask whether the daemon is alive: exit 0 or 1."""
    return health.main(list(args))
