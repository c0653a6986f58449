"""All commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from p2pgrid import __version__
from p2pgrid.cli import (
    audit,
    check,
    datasets,
    environments,
    jobs,
    land,
    launch,
    members,
    network,
    ping,
    publish,
    requests,
    rules,
    search,
    simulate,
    submit,
    swarm,
    tags,
    told,
)
from p2pgrid.cli.ending import Grid

app = typer.Typer(
    cls=Grid,
    help="Peer-to-peer remote data science: data never leaves its owner, questions travel to it.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 nothing found, 4 not reachable in time.",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: read at a glance, and twice as quick as drawing boxes
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Run before every command."""
    if version:
        typer.echo(f"p2pgrid {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


app.command("launch", epilog=launch.EXAMPLES)(launch.launch)
app.command("check", epilog=check.EXAMPLES)(check.check)
app.command("land", epilog=land.EXAMPLES)(land.land)
app.command("id", epilog=network.ID_EXAMPLES)(network.id_)
app.command("peers", epilog=network.PEERS_EXAMPLES)(network.peers)
app.command("ping", epilog=ping.EXAMPLES)(ping.ping)
app.command("search", epilog=search.EXAMPLES)(search.search)
app.command("tags", epilog=tags.EXAMPLES)(tags.tags)
app.add_typer(datasets.app, name="datasets")
app.command("submit", epilog=submit.SUBMIT_EXAMPLES)(submit.submit)
app.command("result", epilog=submit.RESULT_EXAMPLES)(submit.result)
app.command("publish", epilog=publish.EXAMPLES)(publish.publish)
app.add_typer(requests.app, name="requests")
app.add_typer(rules.app, name="rules")
app.add_typer(environments.app, name="environments")
app.add_typer(members.app, name="accounts")
app.add_typer(told.notifications, name="notifications")
app.add_typer(told.settings, name="settings")
app.add_typer(jobs.app, name="jobs")
app.command("swarm", epilog=swarm.EXAMPLES)(swarm.swarm)
app.command("simulate", epilog=simulate.EXAMPLES)(simulate.simulate)
app.add_typer(audit.app, name="audit")
