"""The command `ceus-node`: arguments in, exit code out; everything else lives in the modules it calls.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 a result that was asked for was refused.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dicom_node.config import Settings, load_settings
from dicom_node.errors import ConfigurationError, NodeError
from dicom_node.logs import configure_logging

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns contrast-enhanced ultrasound cines into measured perfusion, in the PACS. Research use only.",
)
jobs_app = typer.Typer(no_args_is_help=True, help="Look at jobs and steer them.")
app.add_typer(jobs_app, name="jobs")

Config = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="CEUS_NODE_CONFIG", help="TOML file; default: built-in values.")
]
OutDir = Annotated[Path, typer.Option("--out", help="Folder for the results.")]


def main() -> None:
    """Run the command and turn the node's own errors into a sentence and an exit code."""
    try:
        app()
    except ConfigurationError as error:
        _say(error)
        sys.exit(USAGE)
    except NodeError as error:
        _say(error)
        sys.exit(FAILED)


def _say(error: NodeError) -> None:
    Console(stderr=True).print(f"[bold red]ceus-node:[/] {error}", highlight=False, soft_wrap=True)


@app.command()
def run(
    role: Annotated[str, typer.Argument(help="receiver, worker, sender or web; nothing = the whole node.")] = "",
    config: Config = None,
) -> None:
    """Run the whole node on this machine, or one role of it."""
    from dicom_node import roles
    from dicom_node.supervisor import Supervisor

    if role and role not in roles.ROLES:
        raise ConfigurationError(f"there is no role {role}; roles are {', '.join(roles.ROLES)}")
    settings = _settings(config, role or "supervisor")
    if role:
        roles.run_role(settings, role)
    else:
        Supervisor(settings, config).run()


@app.command()
def process(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    out: OutDir,
    config: Config = None,
    roi: Annotated[Path | None, typer.Option(help="Full-frame PNG, non-zero = lesion.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Full-frame PNG, non-zero = reference parenchyma.")] = None,
) -> None:
    """Measure DICOM files without a network: the same analysis, results in a folder."""
    from dicom_node.offline import OfflineOrder, process_paths

    settings = _settings(config, "process", quiet=True)
    refused = process_paths(OfflineOrder(settings, tuple(paths), out, roi, reference), Console())
    raise typer.Exit(REFUSED if refused else DONE)


@app.command()
def demo(
    out: OutDir = Path("demo-out"),
    once: Annotated[bool, typer.Option("--once", help="End when every expected object has arrived.")] = False,
) -> None:
    """Scanner, node and PACS on loopback with a simulated and a real cine."""
    from dicom_node.demo import run_demo

    run_demo(out, once=once, console=Console())


@app.command()
def check(config: Config = None) -> None:
    """Validate configuration, disk and peers; a line each."""
    from dicom_node.checks import run_checks

    settings = _settings(config, "check", quiet=True)
    findings = list(run_checks(settings))
    console = Console()
    for finding in findings:
        console.print(f"{'[green]ok[/]  ' if finding.passed else '[red]FAIL[/]'} {finding.text}", highlight=False)
    raise typer.Exit(DONE if all(finding.passed for finding in findings) else FAILED)


@app.command()
def status(config: Config = None) -> None:
    """Say what the node holds: arrivals, jobs by state, deliveries."""
    from dicom_node.job_board import read_board

    board = read_board(_settings(config, "status", quiet=True))
    table = Table("what", "count", box=None)
    for what, count in board.counts().items():
        table.add_row(what, str(count))
    Console().print(table)


@jobs_app.command("list")
def jobs_list(config: Config = None) -> None:
    """Every job with its state and, where it failed, the cause."""
    from dicom_node.job_board import read_board

    table = Table("job", "acquisition", "revision", "state", "cause", box=None)
    for job in read_board(_settings(config, "jobs", quiet=True)).jobs:
        table.add_row(job.name, job.acquisition, str(job.revision), job.state, job.cause)
    Console().print(table)


@jobs_app.command("show")
def jobs_show(job: str, config: Config = None) -> None:
    """One job in full, as JSON."""
    from dicom_node.job_board import read_board

    Console().print_json(read_board(_settings(config, "jobs", quiet=True)).describe(job))


@jobs_app.command("retry")
def jobs_retry(job: str, config: Config = None) -> None:
    """Try a failed job or delivery again; with changed settings it becomes a new revision under new UIDs."""
    from dicom_node.steering import retry

    Console().print(retry(_settings(config, "jobs", quiet=True), job))


@jobs_app.command("cancel")
def jobs_cancel(job: str, config: Config = None) -> None:
    """Stop a job at its next step."""
    from dicom_node.steering import cancel

    Console().print(cancel(_settings(config, "jobs", quiet=True), job))


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    to: Annotated[str, typer.Option(help="Name of a configured destination.")],
    config: Config = None,
) -> None:
    """Send files to a destination, once, with a line for each."""
    from dicom_node.steering import send_paths

    failed = 0
    for path, outcome in send_paths(_settings(config, "send", quiet=True), paths, to):
        failed += not outcome.delivered
        Console().print(f"{path.name}: {outcome.text}", highlight=False)
    raise typer.Exit(FAILED if failed else DONE)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="DICOM file to write.")],
    scene: Annotated[str, typer.Option(help="bolus, small-bolus, replenishment, bmode, doppler or flow.")] = "bolus",
    seed: Annotated[int, typer.Option(help="Same seed, same file.")] = 1,
) -> None:
    """Write a simulated cine (with its truth beside it as JSON)."""
    from dicom_node.demo_scenes import write_simulation

    Console().print(f"wrote {write_simulation(out, scene, seed)}", highlight=False)


def _settings(config: Path | None, role: str, *, quiet: bool = False) -> Settings:
    settings = load_settings(config)
    log = settings.log
    if quiet and log.level == "info":
        log = log.model_copy(update={"level": "warning"})
    configure_logging(log, role)
    return settings
