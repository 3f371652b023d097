"""Names for authors of packs: what a claim, an engine or a model of a package's own is built of.

`robustest.extensions` has the hooks by which a pack is found. This module has what its code is written with, and is the
one place that packs import it from, beside `robustest` itself and its modules of public names (`attacks`, `clock`,
`cues`, `data`, `errors`, `measure`, `plots`, `rng`, `shifts`, `tasks`, `threats`): where a name lies within robustest
may change, and this module changes with it.

Each name loads its own module when first used, so that a command of a pack starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest.assertions.assertion import assertion as assertion
    from robustest.checks import checked_real as checked_real
    from robustest.checks import checked_whole as checked_whole
    from robustest.claims.datasets.accuracy import accuracy_of as accuracy_of
    from robustest.claims.strategies import hunt as hunt
    from robustest.cli.exits import Exit as Exit
    from robustest.cli.exits import Refused as Refused
    from robustest.cli.exits import wrong as wrong
    from robustest.cli.first_gates.battery import PLACE as PLACE
    from robustest.cli.first_gates.battery import Probe as Probe
    from robustest.cli.screen import Screen as Screen
    from robustest.cli.screen import counted as counted
    from robustest.context import current as current
    from robustest.data.groups import LabelSets as LabelSets
    from robustest.data.groups import Scores as Scores
    from robustest.data.groups import as_label_sets as as_label_sets
    from robustest.data.groups import said as said
    from robustest.decisions import Decision as Decision
    from robustest.decisions import DrawsRule as DrawsRule
    from robustest.decisions import ShareRule as ShareRule
    from robustest.decisions import Terms as Terms
    from robustest.decisions import checked_threshold as checked_threshold
    from robustest.decisions import optional_threshold as optional_threshold
    from robustest.decisions.cluster_means import cluster_difference_interval as cluster_difference_interval
    from robustest.decisions.cluster_means import cluster_mean_interval as cluster_mean_interval
    from robustest.decisions.rule import Columns as Columns
    from robustest.decisions.rule import EarlyVerdict as EarlyVerdict
    from robustest.decisions.rule import about as about
    from robustest.decisions.rule import approximate as approximate
    from robustest.decisions.rule import judge_interval as judge_interval
    from robustest.decisions.share import clopper_pearson as clopper_pearson
    from robustest.decisions.strata import StrataRule as StrataRule
    from robustest.decisions.thresholds import count_at_most as count_at_most
    from robustest.engine.chunks import Chunk as Chunk
    from robustest.engine.evaluator import Evaluator as Evaluator
    from robustest.extensions import Command as Command
    from robustest.extensions import Section as Section
    from robustest.extensions import hookimpl as hookimpl
    from robustest.health import HealthFinding as HealthFinding
    from robustest.identity.fingerprint import digest as digest
    from robustest.kinds import OUTCOMES as OUTCOMES
    from robustest.kinds import Kind as Kind
    from robustest.kinds import Quantity as Quantity
    from robustest.kinds import no_lines as no_lines
    from robustest.results import NOT_PAIRED as NOT_PAIRED
    from robustest.results import Captions as Captions
    from robustest.results import Fact as Fact
    from robustest.results import Pairing as Pairing
    from robustest.results import Result as Result
    from robustest.results import Verdict as Verdict
    from robustest.run.comparison import Baseline as Baseline
    from robustest.run.driver import observe as observe
    from robustest.run.evidence import Evidence as Evidence
    from robustest.run.evidence import Exhibit as Exhibit
    from robustest.run.evidence import Observation as Observation
    from robustest.run.evidence import exhibits_of as exhibits_of
    from robustest.run.evidence import unchanged_exhibits as unchanged_exhibits
    from robustest.run.finish import fallible as fallible
    from robustest.run.finish import few as few
    from robustest.run.finish import finish as finish
    from robustest.run.finish import result_of as result_of
    from robustest.run.finish import shown_path as shown_path
    from robustest.run.measurement import measurement as measurement
    from robustest.run.own_units import OwnUnits as OwnUnits
    from robustest.run.own_units import Part as Part
    from robustest.run.plan import Options as Options
    from robustest.run.plan import Plan as Plan
    from robustest.run.plan import Setup as Setup
    from robustest.run.plan import apply as apply
    from robustest.run.plan import settings_of as settings_of
    from robustest.run.plan import terms_of as terms_of
    from robustest.run.workers import Engine as Engine
    from robustest.run.workers import Job as Job
    from robustest.run.workers import Mapper as Mapper
    from robustest.safe_files import UnsafeFile as UnsafeFile
    from robustest.safe_files import open_regular as open_regular
    from robustest.safe_files import parts_below as parts_below
    from robustest.safe_files import read_below as read_below
    from robustest.safe_files import read_regular as read_regular
    from robustest.settings import Settings as Settings

_HOME: dict[str, tuple[str, ...]] = {
    "assertions.assertion": ("assertion",),
    "checks": ("checked_real", "checked_whole"),
    "claims.datasets.data_sets": ("accuracy_of",),
    "claims.strategies.hypothesis_search": ("hunt",),
    "cli.exits": ("Exit", "Refused", "wrong"),
    "cli.first_gates.battery": ("PLACE", "Probe"),
    "cli.screen": ("Screen", "counted"),
    "context": ("current",),
    "data.groups": ("LabelSets", "Scores", "as_label_sets", "said"),
    "decisions": ("Decision", "DrawsRule", "ShareRule", "Terms", "checked_threshold", "optional_threshold"),
    "decisions.cluster_means": ("cluster_difference_interval", "cluster_mean_interval"),
    "decisions.rule": ("Columns", "EarlyVerdict", "about", "approximate", "judge_interval"),
    "decisions.share": ("clopper_pearson",),
    "decisions.strata": ("StrataRule",),
    "decisions.thresholds": ("count_at_most",),
    "engine.chunks": ("Chunk",),
    "engine.evaluator": ("Evaluator",),
    "engine.health": ("HealthFinding",),
    "extensions": ("Command", "Section", "hookimpl"),
    "identity.fingerprint": ("digest",),
    "kinds": ("Kind", "OUTCOMES", "Quantity", "no_lines"),
    "results": ("Captions", "Fact", "NOT_PAIRED", "Pairing", "Result", "Verdict"),
    "run.comparison": ("Baseline",),
    "run.driver": ("observe",),
    "run.evidence": ("Evidence", "Exhibit", "Observation", "exhibits_of", "unchanged_exhibits"),
    "run.finish": ("fallible", "few", "finish", "result_of", "shown_path"),
    "run.measurement": ("measurement",),
    "run.own_units": ("OwnUnits", "Part"),
    "run.plan": ("Options", "Plan", "Setup", "apply", "settings_of", "terms_of"),
    "run.workers": ("Engine", "Job", "Mapper"),
    "safe_files": ("UnsafeFile", "open_regular", "parts_below", "read_below", "read_regular"),
    "settings": ("Settings",),
}
_MODULE_OF = {name: f"robustest.{module}" for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - a test holds it equal to the imports above


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'robustest.packs' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
