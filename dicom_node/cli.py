"""The command `ceus-node`: arguments in, exit code out; everything else lives in the modules it calls.

Whatever goes wrong ends in one sentence on stderr and an exit code, never in a traceback, unless it is our own fault.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 a result that was asked for was refused.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.config import Settings, load_settings
from dicom_node.errors import ConfigurationError, NetworkError, NodeError
from dicom_node.logs import configure_logging

PIPE_WIDTH = 400
"""Columns of a table that no terminal shows: longer than any name or cause."""
DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns contrast-enhanced ultrasound cines into measured perfusion, in the PACS. Research use only.",
)
jobs_app = typer.Typer(no_args_is_help=True, help="Look at jobs and steer them.")
app.add_typer(jobs_app, name="jobs")
models_app = typer.Typer(no_args_is_help=True, help="Models: list, verify, evaluate, finetune, activate.")
app.add_typer(models_app, name="models")

Config = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="CEUS_NODE_CONFIG", help="TOML file; default: built-in values.")
]
OutDir = Annotated[Path, typer.Option("--out", help="Folder for the results.")]


def main() -> None:
    """Run the command and turn the node's own errors, and those of files, into a sentence and an exit code."""
    try:
        app()
    except ConfigurationError as error:
        _say(str(error))
        sys.exit(USAGE)
    except NodeError as error:
        _say(str(error))
        sys.exit(FAILED)
    except OSError as error:
        _say(_about_file(error))
        sys.exit(FAILED)


def _say(sentence: str) -> None:
    # Escaped: "[retention]" names a section of the configuration, not a colour.
    Console(stderr=True).print(f"[bold red]ceus-node:[/] {escape(sentence)}", highlight=False, soft_wrap=True)


def _about_file(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror or str(error)


@app.command()
def run(
    role: Annotated[str, typer.Argument(help="receiver, worker, sender or web; nothing = the whole node.")] = "",
    config: Config = None,
) -> None:
    """Run the whole node on this machine, or one role of it."""
    if role:
        _run_role(config, role)
    else:
        from dicom_node.data_folder import DataFolder
        from dicom_node.supervisor import Supervisor

        settings = _settings(config, "supervisor")
        DataFolder(settings.node.data_dir).prepare()  # said once here, not by every role
        Supervisor(settings, config).run()


def _run_role(config: Path | None, role: str) -> None:
    from dicom_node import roles

    if role not in roles.ROLES:
        raise ConfigurationError(f"there is no role {role}; roles are {', '.join(roles.ROLES)}")
    settings = _settings(config, role)
    try:
        roles.run_role(settings, role)
    except NetworkError as error:  # of its own port: as configured it can never listen
        raise ConfigurationError(str(error)) from error


@app.command()
def process(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    out: OutDir,
    config: Config = None,
    roi: Annotated[Path | None, typer.Option(help="Full-frame PNG, non-zero = lesion.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Full-frame PNG, non-zero = reference parenchyma.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="sr.dcm of an earlier study; its picture is taken from beside it.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what is decided and why; measure nothing.")] = False,
) -> None:
    """Measure DICOM files without a network: the same analysis, results in a folder."""
    from dicom_node.offline import OfflineOrder, process_paths
    from dicom_node.repeatability_table import read_table
    from dicom_node.site_profiles import check_profiles

    settings = _settings(config, "process", quiet=True)
    check_profiles(settings)
    read_table(settings.comparison.repeatability)
    _writable(out)
    if explain:
        from dicom_node.explaining import explain_paths

        raise typer.Exit(REFUSED if explain_paths(settings, paths, out, Console()) else DONE)
    for mask in (roi, reference):
        if mask is not None and not mask.is_file():
            raise ConfigurationError(f"{mask} does not exist")
    refused = process_paths(OfflineOrder(settings, tuple(paths), out, roi, reference, baseline), Console())
    raise typer.Exit(REFUSED if refused else DONE)


@app.command()
def repeatability(
    paths: Annotated[list[Path], typer.Argument(help="Result folders of repeated loops, same patient and day.")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write.")] = Path("repeatability.csv"),
) -> None:
    """Make the site's table of what varies between repeated loops, for `[comparison] repeatability`."""
    from datetime import UTC, datetime

    from dicom_node.repeatability import repeatability_table
    from dicom_node.repeatability_table import write_table

    limits = repeatability_table(paths, datetime.now(UTC).date())
    write_table(out, limits)
    for name, limit in limits.items():
        Console().print(f"{name}: ±{limit.limit:.3g} {limit.unit} ({limit.source})", highlight=False, soft_wrap=True)


@app.command()
def demo(
    out: OutDir = Path("demo-out"),
    once: Annotated[bool, typer.Option("--once", help="End when every expected object has arrived.")] = False,
) -> None:
    """Scanner, node and PACS on loopback with a simulated and a real cine."""
    from dicom_node.demo import run_demo

    _writable(out)
    run_demo(out, once=once, console=Console())


@app.command()
def check(config: Config = None) -> None:
    """Validate configuration, disk and peers; a line each."""
    from dicom_node.checks import run_checks

    settings = _settings(config, "check", quiet=True)
    findings = list(run_checks(settings))
    for finding in findings:
        word = "[green]ok[/]  " if finding.passed else "[red]FAIL[/]"
        Console().print(f"{word} {escape(finding.text)}", highlight=False, soft_wrap=True)
    raise typer.Exit(DONE if all(finding.passed for finding in findings) else FAILED)


@app.command()
def status(config: Config = None) -> None:
    """Say what the node holds: arrivals, jobs by state, deliveries."""
    from dicom_node.job_board import read_board

    board = read_board(_settings(config, "status", quiet=True))
    table = Table("what", "count", box=None)
    for what, count in board.counts().items():
        table.add_row(what, str(count))
    _table_console().print(table)


@jobs_app.command("list")
def jobs_list(config: Config = None) -> None:
    """Every job with its state and, where it failed, the cause."""
    from dicom_node.job_board import read_board

    table = Table("job", "acquisition", "revision", "state", "cause", box=None)
    for job in read_board(_settings(config, "jobs", quiet=True)).jobs:
        table.add_row(job.name, job.acquisition, str(job.revision), job.state, escape(job.cause))
    _table_console().print(table)


@jobs_app.command("show")
def jobs_show(job: str, config: Config = None) -> None:
    """One job in full, as JSON."""
    from dicom_node.job_board import read_board

    Console().print_json(read_board(_settings(config, "jobs", quiet=True)).describe(job))


@jobs_app.command("retry")
def jobs_retry(job: str, config: Config = None) -> None:
    """Try a failed job or delivery again; with changed settings it becomes a new revision under new UIDs."""
    from dicom_node.steering import by_hand, retry

    Console().print(by_hand(retry, _settings(config, "jobs", quiet=True), job))


@jobs_app.command("cancel")
def jobs_cancel(job: str, config: Config = None) -> None:
    """Stop a job at its next step."""
    from dicom_node.steering import by_hand, cancel

    Console().print(by_hand(cancel, _settings(config, "jobs", quiet=True), job))


@jobs_app.command("confirm")
def jobs_confirm(job: str, config: Config = None) -> None:
    """A reader's word that the job's lesion is the one of its baseline: a new revision shares its tracking UID."""
    from dicom_node.steering import by_hand, confirm

    Console().print(by_hand(confirm, _settings(config, "jobs", quiet=True), job))


@models_app.command("list")
def models_list(config: Config = None) -> None:
    """Every model, shipped or the site's own, checked anew."""
    from dicom_node.model_commands import table_of_models

    Console().print(table_of_models(_settings(config, "models", quiet=True)))


@models_app.command("verify")
def models_verify(folder: Path) -> None:
    """All checks on one model folder; exit code 1 where one fails."""
    from dicom_node.model_commands import verify_folder

    passed, line = verify_folder(folder)
    Console().print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(DONE if passed else FAILED)


@models_app.command("evaluate")
def models_evaluate(
    model: Annotated[str, typer.Argument(help="Model id, such as lesion_seg.")],
    table: Annotated[Path, typer.Argument(help="CSV of the site's cases (docs/models.md).")],
    folder: Annotated[Path | None, typer.Option(help="A model folder instead of the active model.")] = None,
    out: Annotated[Path | None, typer.Option(help="Figures and every case as JSON.")] = None,
    config: Config = None,
) -> None:
    """How a model does on the site's own cases; intervals are over animals or patients."""
    from dicom_node.model_commands import EvaluationOrder, evaluate_model

    order = EvaluationOrder(model, table, folder, out)
    Console().print(evaluate_model(_settings(config, "models", quiet=True), order))


@models_app.command("finetune")
def models_finetune(
    model: Annotated[str, typer.Argument(help="Model id: lesion_seg, response_cls or response_lr.")],
    table: Annotated[Path, typer.Argument(help="CSV of the site's cases (docs/models.md).")],
    version: Annotated[str, typer.Option(help="Version of the new model.")],
    held: Annotated[float, typer.Option(help="Share of the subjects that is only tested on.")] = 0.3,
    seed: int = 1,
    config: Config = None,
) -> None:
    """Adapt a shipped model to the site's own cases (needs the extra `train`)."""
    from dicom_node.model_commands import FineTuneOrder, fine_tune_model

    order = FineTuneOrder(model, table, version, held, seed)
    told = fine_tune_model(_settings(config, "models", quiet=True), order)
    Console().print(told, highlight=False, soft_wrap=True)


@models_app.command("activate")
def models_activate(
    model: Annotated[str, typer.Argument(help="Model id, such as lesion_seg.")],
    version: Annotated[str, typer.Argument(help="Its folder's name.")],
    approver: Annotated[str, typer.Option(help="Who takes responsibility.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit file.")],
    role: Annotated[str, typer.Option(help="active, shadow or withdrawn.")] = "active",
    config: Config = None,
) -> None:
    """Approve a site's own model; approver and reason are kept."""
    from dicom_node.model_commands import Approval, approve

    approval = Approval(model, version, role, approver, reason)
    Console().print(approve(_settings(config, "models", quiet=True), approval), highlight=False)


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
        Console().print(f"{path.name}: {outcome.text}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(FAILED if failed else DONE)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="DICOM file to write.")],
    scene: Annotated[str, typer.Option(help="bolus, small-bolus, replenishment, bmode, doppler or flow.")] = "bolus",
    seed: Annotated[int, typer.Option(help="Same seed, same file.")] = 1,
) -> None:
    """Write a simulated cine (with its truth beside it as JSON)."""
    from dicom_node.demo_scenes import write_simulation

    _writable(out.parent)
    Console().print(f"wrote {write_simulation(out, scene, seed)}", highlight=False)


def _writable(folder: Path) -> None:
    """Refuse before anything is computed what could not be written after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out: cannot create {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"--out: {folder} is not writable by this user")


def _table_console() -> Console:
    """Of the terminal's width; in a pipe nothing is folded, so that scripts find whole names."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def _settings(config: Path | None, role: str, *, quiet: bool = False) -> Settings:
    settings = load_settings(config)
    log = settings.log
    if quiet and log.level == "info":
        log = log.model_copy(update={"level": "warning"})
    configure_logging(log, role)
    return settings
