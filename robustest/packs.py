"""Names for authors of packs, to build claims, engines and models.

`robustest.extensions` has the hooks by which a pack is found. Packs import all other names from here, from `robustest`
and from its public modules (`attacks`, `clock`, `cues`, `data`, `errors`, `measure`, `plots`, `rng`, `shifts`, `tasks`,
`threats`): other modules may change.
"""

# Names load when first used, so that a pack's command starts without torch.

from __future__ import annotations

from typing import TYPE_CHECKING

from robustest.lazy import lazy_names

if TYPE_CHECKING:
    from robustest.assertions.assertion import assertion as assertion
    from robustest.checks import checked_real as checked_real
    from robustest.checks import checked_whole as checked_whole
    from robustest.claims.datasets.accuracy import accuracy_of as accuracy_of
    from robustest.claims.robustness.attacking import Attacking as Attacking
    from robustest.claims.robustness.attacking import attack_of_call as attack_of_call
    from robustest.claims.robustness.attacking import check_threat as check_threat
    from robustest.claims.robustness.attacking import draws_in as draws_in
    from robustest.claims.strategies import hunt as hunt
    from robustest.cli.commands.init import PLACE as PLACE
    from robustest.cli.commands.init import Probe as Probe
    from robustest.cli.screen import Exit as Exit
    from robustest.cli.screen import Refused as Refused
    from robustest.cli.screen import Screen as Screen
    from robustest.cli.screen import counted as counted
    from robustest.cli.screen import wrong as wrong
    from robustest.context import current as current
    from robustest.data.groups import Groups as Groups
    from robustest.data.groups import LabelSets as LabelSets
    from robustest.data.groups import Scores as Scores
    from robustest.data.groups import as_groups as as_groups
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
    from robustest.decisions.cues import worst_of as worst_of
    from robustest.decisions.drop import drop_bounds as drop_bounds
    from robustest.decisions.drop import mcnemar as mcnemar
    from robustest.decisions.multiplicity import group_level as group_level
    from robustest.decisions.rule import Columns as Columns
    from robustest.decisions.rule import EarlyVerdict as EarlyVerdict
    from robustest.decisions.rule import about as about
    from robustest.decisions.rule import approximate as approximate
    from robustest.decisions.rule import judge_interval as judge_interval
    from robustest.decisions.share import clopper_pearson as clopper_pearson
    from robustest.decisions.strata import StrataRule as StrataRule
    from robustest.decisions.thresholds import count_at_most as count_at_most
    from robustest.devices import fast_in_bfloat16 as fast_in_bfloat16
    from robustest.devices import random_states as random_states
    from robustest.devices import resolve as resolve
    from robustest.engine.ascent import advanced as advanced
    from robustest.engine.ascent import ascend as ascend
    from robustest.engine.ascent import away_from as away_from
    from robustest.engine.ascent import inverted as inverted
    from robustest.engine.ascent import relative_distance as relative_distance
    from robustest.engine.ascent import towards_class as towards_class
    from robustest.engine.chunks import Chunk as Chunk
    from robustest.engine.chunks import check_data as check_data
    from robustest.engine.chunks import load as load
    from robustest.engine.evaluator import Evaluator as Evaluator
    from robustest.engine.evaluator import seed_draws as seed_draws
    from robustest.engine.features import in_order as in_order
    from robustest.engine.features import reader as reader
    from robustest.engine.features import seen_by as seen_by
    from robustest.extensions import Command as Command
    from robustest.extensions import Section as Section
    from robustest.extensions import hookimpl as hookimpl
    from robustest.heads.sparse_head import SparseHead as SparseHead
    from robustest.heads.sparse_head import SparsePath as SparsePath
    from robustest.heads.sparse_head import fit_sparse_head as fit_sparse_head
    from robustest.health import HealthFinding as HealthFinding
    from robustest.identity.fingerprint import digest as digest
    from robustest.identity.keys import Key as Key
    from robustest.identity.keys import Unhashable as Unhashable
    from robustest.identity.keys import key_of as key_of
    from robustest.kinds import OUTCOMES as OUTCOMES
    from robustest.kinds import Kind as Kind
    from robustest.kinds import Quantity as Quantity
    from robustest.kinds import no_lines as no_lines
    from robustest.models import frozen as frozen
    from robustest.models.classifier import Preprocessing as Preprocessing
    from robustest.models.classifier import logits_of as logits_of
    from robustest.models.training import TrainFn as TrainFn
    from robustest.models.training import check_train as check_train
    from robustest.reports.pictures import save_sheet as save_sheet
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
    from robustest.run.evidence import Look as Look
    from robustest.run.evidence import Observation as Observation
    from robustest.run.evidence import Tally as Tally
    from robustest.run.evidence import exhibits_of as exhibits_of
    from robustest.run.evidence import unchanged_exhibits as unchanged_exhibits
    from robustest.run.finish import fallible as fallible
    from robustest.run.finish import few as few
    from robustest.run.finish import finish as finish
    from robustest.run.finish import nothing_allowed as nothing_allowed
    from robustest.run.finish import result_of as result_of
    from robustest.run.finish import shown_path as shown_path
    from robustest.run.measurement import measurement as measurement
    from robustest.run.memory import entry_of as entry_of
    from robustest.run.memory import outcomes_in as outcomes_in
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
    from robustest.store.entries import Entry as Entry
    from robustest.store.entries import Store as Store
    from robustest.store.entries import pack as pack
    from robustest.store.entries import unpack as unpack
    from robustest.store.files import Damaged as Damaged
    from robustest.store.files import write_atomic as write_atomic
    from robustest.store.provenance import when as when

_HOME: dict[str, tuple[str, ...]] = {
    "assertions.assertion": ("assertion",),
    "checks": ("checked_real", "checked_whole"),
    "claims.datasets.accuracy": ("accuracy_of",),
    "claims.robustness.attacking": ("Attacking", "attack_of_call", "check_threat", "draws_in"),
    "claims.strategies": ("hunt",),
    "cli.commands.init": ("PLACE", "Probe"),
    "cli.screen": ("Exit", "Refused", "Screen", "counted", "wrong"),
    "context": ("current",),
    "data.groups": ("Groups", "LabelSets", "Scores", "as_groups", "as_label_sets", "said"),
    "decisions": ("Decision", "DrawsRule", "ShareRule", "Terms", "checked_threshold", "optional_threshold"),
    "decisions.cluster_means": ("cluster_difference_interval", "cluster_mean_interval"),
    "decisions.cues": ("worst_of",),
    "decisions.drop": ("drop_bounds", "mcnemar"),
    "decisions.multiplicity": ("group_level",),
    "decisions.rule": ("Columns", "EarlyVerdict", "about", "approximate", "judge_interval"),
    "decisions.share": ("clopper_pearson",),
    "decisions.strata": ("StrataRule",),
    "decisions.thresholds": ("count_at_most",),
    "devices": ("fast_in_bfloat16", "random_states", "resolve"),
    "engine.ascent": ("advanced", "ascend", "away_from", "inverted", "relative_distance", "towards_class"),
    "engine.chunks": ("Chunk", "check_data", "load"),
    "engine.evaluator": ("Evaluator", "seed_draws"),
    "engine.features": ("in_order", "reader", "seen_by"),
    "extensions": ("Command", "Section", "hookimpl"),
    "heads.sparse_head": ("SparseHead", "SparsePath", "fit_sparse_head"),
    "health": ("HealthFinding",),
    "identity.fingerprint": ("digest",),
    "identity.keys": ("Key", "Unhashable", "key_of"),
    "kinds": ("Kind", "OUTCOMES", "Quantity", "no_lines"),
    "models": ("frozen",),
    "models.classifier": ("Preprocessing", "logits_of"),
    "models.training": ("TrainFn", "check_train"),
    "reports.pictures": ("save_sheet",),
    "results": ("Captions", "Fact", "NOT_PAIRED", "Pairing", "Result", "Verdict"),
    "run.comparison": ("Baseline",),
    "run.driver": ("observe",),
    "run.evidence": ("Evidence", "Exhibit", "Look", "Observation", "Tally", "exhibits_of", "unchanged_exhibits"),
    "run.finish": ("fallible", "few", "finish", "nothing_allowed", "result_of", "shown_path"),
    "run.measurement": ("measurement",),
    "run.memory": ("entry_of", "outcomes_in"),
    "run.own_units": ("OwnUnits", "Part"),
    "run.plan": ("Options", "Plan", "Setup", "apply", "settings_of", "terms_of"),
    "run.workers": ("Engine", "Job", "Mapper"),
    "safe_files": ("UnsafeFile", "open_regular", "parts_below", "read_below", "read_regular"),
    "settings": ("Settings",),
    "store.entries": ("Entry", "Store", "pack", "unpack"),
    "store.files": ("Damaged", "write_atomic"),
    "store.provenance": ("when",),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - a test holds it equal to the imports above
