"""Results of a run in experiment trackers, each by its own client: MLflow, Weights & Biases, TensorBoard."""

# Each tracker gets the same: numbers of the run and of each row under stable names, settings and origin as texts, and
# a table with a line for each row, in every state. A tracker judges nothing: if it cannot be reached, the run's exit
# status stays, and the failure is returned as a sentence.
#
# Servers are elsewhere, so nothing is sent but what is named here, and texts (reasons of failed tests) are sent without
# the values of environment variables that look like secrets, and without the passwords of addresses.

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple

from robustest.account import STATES, Account, Row
from robustest.checks import require
from robustest.errors import ConfigError, expected, not_installed, unknown
from robustest.history import ClaimId, Origin
from robustest.reports.badge import badge_of
from robustest.reports.github import escaped
from robustest.reports.inert import inert
from robustest.reports.text import measured
from robustest.settings import Settings
from robustest.version import VERSION

DEFAULT = "robustest"
"""Name of the experiment or project if neither the target nor the client's own variables name one."""

COLUMNS = (
    *("name", "test", "claim", "statement", "state", "verdict", "quantity", "estimate", "low", "high", "bounds"),
    *("threshold", "comparison", "n", "n_total", "setting", "attack", "seed", "alpha", "scope", "seconds", "cached"),
    *("model", "data", "measured", "rule", "problem"),
)
"""Columns of the table; `name` begins the names of the row's numbers."""

# Settings that a run is sent with; the others are places on the machine.
_SETTINGS = ("profile", "device", "seed", "attack", "scope", "alpha", "exact", "max_samples", "time_budget")
# Trackers take letters, digits and few signs in names; MLflow no more than 250 characters.
_OTHER = re.compile(r"[^A-Za-z0-9_.]+")
_LONGEST_NAME, _LONGEST_TEXT = 80, 2_000
_LARGEST = 1e100  # stands for an infinite value, which JSON lacks

_BATCH = 1_000  # metrics that MLflow takes at once

_SECRET = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY", re.I)
_SHORTEST_SECRET = 6
_LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")


class TrackerTarget(NamedTuple):
    """A tracker, and the place in it: an experiment, a project, a folder; empty for its default."""

    tracker: str
    place: str


class Delivery(NamedTuple):
    """The outcome of sending a run to one tracker."""

    arrived: bool
    text: str  # a sentence without secrets, of one line


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """The part of a run that trackers get."""

    name: str  # e.g. "robustest 2026-01-31 12:00:00"
    failed: bool  # True unless pytest and every row are green
    about: Mapping[str, str | int | float | bool]  # settings, commit, versions, exit status
    numbers: Mapping[str, float]  # finite, by name
    table: Sequence[Mapping[str, str | int | float | None]]  # a mapping from COLUMNS for each row

    @classmethod
    def of(cls, account: Account, settings: Mapping[str, Any], origin: Origin | None) -> TrackedRun:
        """Return what is sent of a run.

        Args:
            account: the run.
            settings: its settings by name; unknown ones are left out.
            origin: its time and commit, if known.
        """
        rows = account.rows
        table = list(_table(rows, account.lost, account.service))
        counts = Counter(line["state"] for line in table)
        status = -1 if account.session is None else account.session.exit
        badge = badge_of(account)
        numbers = {f"robustest/{state}": float(counts[state]) for state in STATES}
        numbers["robustest/green"] = float(badge.green)
        for line in table:
            values = {one: line[one] for one in ("estimate", "low", "high", "threshold")}
            if line["state"] != "measured":
                values["passed"] = float(line["state"] == "passed")
            numbers |= {f"{line['name']}/{key}": float(value) for key, value in values.items() if value is not None}
        about: dict[str, str | int | float | bool] = {
            f"robustest.{name}": value
            for name in _SETTINGS
            if isinstance(value := settings.get(name), (str, int, float, bool))
        }
        about |= {"robustest.version": VERSION, "robustest.exit": status, "robustest.summary": badge.message}
        if origin is not None:
            about |= {f"robustest.{name}": value for name, value in asdict(origin).items()}
        about = {key: without_secrets(value) if isinstance(value, str) else value for key, value in about.items()}
        time = "" if origin is None else f" {origin.time[:19].replace('T', ' ')}"
        green = status == 0 and not account.lost and bool(rows) and not any(row.red for row in rows)
        return cls(name=f"robustest{time}", failed=not green, about=about, numbers=numbers, table=table)


def _table(rows: Iterable[Row], lost: Iterable[str], service: str) -> Iterator[dict[str, str | int | float | None]]:
    places: Counter[tuple[str, str]] = Counter()
    for row in rows:
        result = row.result
        key = (row.test, "" if result is None else result.subject.claim)
        claim = ClaimId(*key, places[key], service)
        places[key] += 1
        line: dict[str, str | int | float | None] = dict.fromkeys(COLUMNS)
        line |= {"name": _name_of(claim), "test": row.test, "claim": claim.key, "state": row.state}
        line["problem"] = row.problem or ("" if row.ending is None else row.ending.reason)
        if result is not None:
            subject, ruling, numbers, evidence = result.subject, result.ruling, result.numbers, result.evidence
            low, high = numbers.interval
            line |= {"statement": subject.statement, "verdict": str(ruling.verdict), "quantity": numbers.quantity}
            line |= {"estimate": _finite(numbers.estimate), "low": _finite(low), "high": _finite(high)}
            line |= {"bounds": numbers.bounds, "threshold": _finite(ruling.threshold), "comparison": ruling.comparison}
            line |= {"n": numbers.n, "n_total": numbers.n_total, "setting": subject.setting, "attack": subject.method}
            line |= {"seed": evidence.seed, "alpha": ruling.alpha, "scope": subject.scope, "cached": evidence.cached}
            line |= {"seconds": evidence.cost.seconds, "model": evidence.model, "data": evidence.data}
            line |= {"measured": measured(result), "rule": result.rule}
        yield {key: without_secrets(value) if isinstance(value, str) else value for key, value in line.items()}
    for problem in lost:  # no row shows it, and a run that lost results is not green
        claim = ClaimId("pytest", "lost", places["pytest", "lost"], service)
        places["pytest", "lost"] += 1
        line = {**dict.fromkeys(COLUMNS), "name": _name_of(claim), "test": "pytest", "claim": "lost"}
        yield {**line, "state": "error", "problem": without_secrets(problem)}


def _name_of(claim: ClaimId) -> str:
    """Return a name of readable parts that any tracker takes, the same in every run, different for different claims."""
    texts = map(without_secrets, (claim.shown, claim.key))
    parts = [_OTHER.sub("-", text).strip("-.")[-_LONGEST_NAME:].lstrip("-.") for text in texts]
    return "/".join([*filter(None, parts[:1]), f"{parts[1] or 'test'}-{claim.digest[:8]}"])


def _finite(value: float | None) -> float | None:
    return None if value is None else float(min(max(value, -_LARGEST), _LARGEST))


def without_secrets(text: str) -> str:
    """Return a text, cut, without passwords in addresses and values of variables such as MLFLOW_TRACKING_TOKEN."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET.search(name):
            text = text.replace(value, "***")
    return _LOGIN.sub("***", text)[:_LONGEST_TEXT]


# ---- the trackers


def to_mlflow(run: TrackedRun, place: str) -> str:
    """Add a run to MLflow, or its values to the run that is active or that MLFLOW_RUN_ID names; return its place.

    The tracking server is that of MLFLOW_TRACKING_URI.
    """
    import mlflow
    from mlflow.entities import Metric, RunTag
    from mlflow.tracking import MlflowClient

    # The client, not `mlflow.start_run`: a run that a project has started stays the active one, and stays open.
    client, active = MlflowClient(), mlflow.active_run()
    given = os.environ.get("MLFLOW_RUN_ID", "") if active is None else str(active.info.run_id)
    number = given
    if not given:
        name = place or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID", "") if not place else ""
        if not experiment:
            known = client.get_experiment_by_name(name)
            experiment = client.create_experiment(name) if known is None else known.experiment_id
        number = str(client.create_run(experiment, run_name=run.name).info.run_id)
    try:
        # Tags, since a parameter cannot be set twice.
        client.log_batch(number, tags=[RunTag(key, str(value)) for key, value in run.about.items()])
        now = time_ns() // 1_000_000
        numbers = [Metric(key, value, now, 0) for key, value in run.numbers.items()]
        for start in range(0, len(numbers), _BATCH):
            client.log_batch(number, metrics=numbers[start : start + _BATCH])
        lines = [[line[column] for column in COLUMNS] for line in run.table]
        client.log_dict(number, {"columns": list(COLUMNS), "data": lines}, "robustest/claims.json")
    except BaseException:
        if not given:
            client.set_terminated(number, "FAILED")
        raise
    if not given:
        client.set_terminated(number, "FAILED" if run.failed else "FINISHED")
    return f"run {number} at {mlflow.get_tracking_uri()}"


def to_wandb(run: TrackedRun, place: str) -> str:
    """Add a run to Weights & Biases, or its values to the run that is active; return its place."""
    import wandb

    active = wandb.run
    # Of console, command line, requirements and git state nothing is sent: each may hold secrets.
    quiet = {"console": "off", "disable_git": True, "disable_code": True, "silent": True, "x_disable_meta": True}
    quiet |= {"x_disable_stats": True, "x_disable_machine_info": True, "x_save_requirements": False}
    project = place or os.environ.get("WANDB_PROJECT") or DEFAULT
    here = active or wandb.init(
        project=project, name=run.name, job_type="robustness", config=dict(run.about), settings=wandb.Settings(**quiet)
    )
    status = 1
    try:
        if here.disabled:
            raise ConfigError(expected("Weights & Biases to be on", os.environ.get("WANDB_MODE", "disabled")))
        if active is not None:
            here.config.update(dict(run.about), allow_val_change=True)
        lines = [[line[column] for column in COLUMNS] for line in run.table]
        table = wandb.Table(columns=list(COLUMNS), data=lines, allow_mixed_types=True)
        here.log({**run.numbers, "robustest/claims": table})
        status = int(run.failed)
    finally:
        if active is None:
            here.finish(exit_code=status)
    return f"run {here.id}, offline in {Path(here.dir).parent}" if here.offline else f"run {here.id} at {here.url}"


def to_tensorboard(run: TrackedRun, place: str) -> str:
    """Write a run as event files, in a new folder below `place` or `runs`; return the folder."""
    from torch.utils.tensorboard import SummaryWriter

    base = Path(place or "runs") / re.sub("[^0-9A-Za-z]+", "-", run.name)
    folder, number = base, 1
    while folder.exists():  # two runs in one folder would be drawn as one
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    # TensorBoard draws texts as Markdown.
    head = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"
    cells = [[escaped("" if line[column] is None else str(line[column])) for column in COLUMNS] for line in run.table]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    with SummaryWriter(str(folder)) as writer:
        for key, value in run.numbers.items():
            writer.add_scalar(key, value, 0)
        writer.add_text("robustest/claims", "\n".join([head, *lines]), 0)
        about = "\n".join(f"- {escaped(key)}: {escaped(str(value))}" for key, value in run.about.items())
        writer.add_text("robustest/about", about, 0)
    return str(folder)


TRACKERS: Mapping[str, tuple[str, Callable[[TrackedRun, str], str]]] = {
    "mlflow": ("mlflow", to_mlflow),
    "wandb": ("wandb", to_wandb),
    "tensorboard": ("tensorboard", to_tensorboard),
}
"""The module of each tracker's client, which its extra of the same name installs, and the function that sends a run."""


def targets_of(text: str) -> tuple[TrackerTarget, ...]:
    """Return the targets of "mlflow:EXPERIMENT,wandb:PROJECT,tensorboard:FOLDER"; places may be left out.

    Raises:
        ConfigError: a tracker is unknown, named twice, or its client is not installed.
    """
    found: dict[str, TrackerTarget] = {}
    for part in text.split(","):
        name, _, place = part.strip().partition(":")
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        require(name not in found, "each tracker once", text)
        client, _ = TRACKERS[name]
        spec = find_spec(client)
        # A folder of runs in the working directory, `wandb/`, is found as a package without a file.
        if spec is None or spec.origin is None:
            raise not_installed(f"the client of {name}, the package {client},", name)
        found[name] = TrackerTarget(name, place)
    return tuple(found.values())


def send(
    targets: Iterable[TrackerTarget], account: Account, settings: Settings | Mapping[str, Any], origin: Origin | None
) -> list[Delivery]:
    """Send a run to trackers; a tracker that fails keeps no other from getting it, and raises nothing."""
    named = asdict(settings) if isinstance(settings, Settings) else settings
    run = TrackedRun.of(account, named, origin)
    deliveries = []
    for name, place in targets:
        _, deliver = TRACKERS[name]
        try:
            with _patient(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the clients' own code: `-W error` must not keep a run from them
                text, arrived = f"tracked: {name}: {deliver(run, place)}", True
        except KeyboardInterrupt:
            text, arrived = f"NOT TRACKED: {name}: interrupted; the verdicts stand", False
        except (Exception, SystemExit) as error:  # clients raise whatever their networks and files do, or exit
            first = (str(error).strip() or "no reason was given").splitlines()[0]
            text, arrived = f"NOT TRACKED: {name}: {type(error).__name__}: {first}; the verdicts stand", False
        deliveries.append(Delivery(arrived, inert(without_secrets(text))))
    return deliveries


@contextmanager
def _patient() -> Iterator[None]:
    """Let MLflow try a server three times inside the block, not eight times over four minutes, unless it is set."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "2"
    try:
        yield
    finally:
        os.environ.pop(name, None)
