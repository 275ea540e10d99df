"""`leakguard schema`: the configuration described, for editors or for people."""

import click

from leakguard.cli._output import emit_json

EPILOG = """\b
Examples:
  leakguard schema > leakguard.schema.json
  leakguard schema --docs

With the first line below, many editors check a configuration as it is written:

\b
  # yaml-language-server: $schema=leakguard.schema.json
"""


@click.command("schema", epilog=EPILOG)
@click.option("--docs", is_flag=True, help="Print every setting as Markdown tables instead.")
def command(docs: bool) -> None:  # noqa: FBT001  click calls it by name
    """Print the JSON schema of the configuration, with the options of every plug-in."""
    from leakguard.config import json_schema, reference

    if docs:
        print(reference(), end="")
    else:
        emit_json(json_schema())
