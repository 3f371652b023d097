"""Names for authors of packs: what a claim, an engine or a model of a package's own is built of.

`robustest.extensions` has the hooks by which a pack is found. This module has what its code is written with, and is the
one place that packs import it from, beside `robustest` itself and its modules of public names (`attacks`, `clock`,
`cues`, `data`, `errors`, `measure`, `plots`, `rng`, `shifts`, `tasks`, `threats`): where a name lies within robustest
may change, and this module changes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustest.assertions.asserted import asserted as asserted
from robustest.checks import checked_real as checked_real
from robustest.checks import checked_whole as checked_whole
from robustest.claims.robustness.attacking import Attacking as Attacking
from robustest.claims.robustness.attacking import asked_attack as asked_attack
from robustest.claims.robustness.attacking import checked_threat as checked_threat
from robustest.claims.robustness.attacking import draws_in as draws_in
from robustest.cli.exits import Exit as Exit
from robustest.cli.exits import Refused as Refused
from robustest.cli.first_gates.battery import PLACE as PLACE
from robustest.cli.first_gates.battery import Probe as Probe
from robustest.context import current as current
from robustest.data import label_sets
from robustest.data.groups import Groups as Groups
from robustest.data.groups import as_groups as as_groups
from robustest.data.label_sets import LabelSets as LabelSets
from robustest.data.label_sets import Scores as Scores
from robustest.data.label_sets import as_label_sets as as_label_sets
from robustest.engine import chunks, evaluator, features
from robustest.engine.ascent import advanced as advanced
from robustest.engine.ascent import ascend as ascend
from robustest.engine.ascent import away_from as away_from
from robustest.engine.ascent import inverted as inverted
from robustest.engine.ascent import relative_distance as relative_distance
from robustest.engine.ascent import towards_class as towards_class
from robustest.engine.chunks import Chunk as Chunk
from robustest.engine.chunks import check_data as check_data
from robustest.engine.evaluator import Evaluator as Evaluator
from robustest.engine.evaluator import seed_draws as seed_draws
from robustest.engine.features import in_order as in_order
from robustest.engine.health import HealthFinding as HealthFinding
from robustest.extensions import Command as Command
from robustest.extensions import Section as Section
from robustest.extensions import hookimpl as hookimpl
from robustest.facts import Captions as Captions
from robustest.facts import Fact as Fact
from robustest.heads.sparse_head import SparseHead as SparseHead
from robustest.heads.sparse_head import SparsePath as SparsePath
from robustest.heads.sparse_head import fit_sparse_head as fit_sparse_head
from robustest.identity.keys import Key as Key
from robustest.identity.keys import Unhashable as Unhashable
from robustest.identity.keys import digest as digest
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
from robustest.regular import Unfit as Unfit
from robustest.regular import open_regular as open_regular
from robustest.regular import parts_below as parts_below
from robustest.reports.pictures import save_sheet as save_sheet
from robustest.results import NOT_PAIRED as NOT_PAIRED
from robustest.results import Pairing as Pairing
from robustest.results import Result as Result
from robustest.results import Verdict as Verdict
from robustest.rules import DrawsRule as DrawsRule
from robustest.rules import ShareRule as ShareRule
from robustest.rules import Terms as Terms
from robustest.rules.approximate import about as about
from robustest.rules.approximate import approximate as approximate
from robustest.rules.cues import worst_of as worst_of
from robustest.rules.groups import group_level as group_level
from robustest.run import result_building
from robustest.run.chunk_measurement import Look as Look
from robustest.run.driver import observe as observe
from robustest.run.engines.engine import Engine as Engine
from robustest.run.engines.engine import Job as Job
from robustest.run.engines.engine import Mapper as Mapper
from robustest.run.evidence import Evidence as Evidence
from robustest.run.evidence import Exhibit as Exhibit
from robustest.run.evidence import Observed as Observed
from robustest.run.evidence import Tally as Tally
from robustest.run.evidence import exhibits_of as exhibits_of
from robustest.run.noting import measures as measures
from robustest.run.options import Options as Options
from robustest.run.options import apply as apply
from robustest.run.options import settings_of as settings_of
from robustest.run.options import terms_of as terms_of
from robustest.run.own_units import OwnUnits as OwnUnits
from robustest.run.own_units import Part as Part
from robustest.run.plan import Plan as Plan
from robustest.run.remembered.comparison import Baseline as Baseline
from robustest.run.remembered.memory import entry_of as entry_of
from robustest.run.remembered.memory import seen_in as seen_in
from robustest.run.result_building import finish as finish
from robustest.run.result_building import result_of as result_of
from robustest.run.result_building import shown_path as shown_path
from robustest.run.setup import Setup as Setup
from robustest.settings import Settings as Settings
from robustest.statistics import Decision as Decision
from robustest.statistics import asked_threshold as asked_threshold
from robustest.statistics import checked_threshold as checked_threshold
from robustest.statistics.differences.paired import drop_bounds as drop_bounds
from robustest.statistics.differences.paired import mcnemar as mcnemar
from robustest.statistics.fixed import beyond as beyond
from robustest.statistics.fixed import clopper_pearson as clopper_pearson
from robustest.store import packed, provenance
from robustest.store.entries import Entry as Entry
from robustest.store.entries import Store as Store
from robustest.store.files import Damaged as Damaged
from robustest.store.files import write_atomic as write_atomic

# Functions whose names say too little outside their module.
date_and_commit = provenance.when
feature_reader = features.reader
few_samples = result_building.few
last_layer_of = features.seen_by
load_chunk = chunks.load
no_change_allowed = result_building.nothing_allowed
pack_tensors = packed.pack
predicted_sets = label_sets.said
resolve_device = evaluator.resolve
unpack_tensors = packed.unpack

if TYPE_CHECKING:
    from robustest.claims.strategies.hypothesis_search import hunt as hunt


def __getattr__(name: str) -> object:
    if name == "hunt":  # hypothesis takes as long to load as many a claim takes to measure
        from robustest.claims.strategies.hypothesis_search import hunt

        return hunt
    raise AttributeError(f"module 'robustest.packs' has no attribute {name!r}")
