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
from robustest.cli.commands.init import PLACE as PLACE
from robustest.cli.commands.init import Probe as Probe
from robustest.cli.screen import Exit as Exit
from robustest.cli.screen import Refused as Refused
from robustest.context import current as current
from robustest.decisions import Decision as Decision
from robustest.decisions import DrawsRule as DrawsRule
from robustest.decisions import ShareRule as ShareRule
from robustest.decisions import Terms as Terms
from robustest.decisions import checked_threshold as checked_threshold
from robustest.engine.chunks import Chunk as Chunk
from robustest.engine.evaluator import Evaluator as Evaluator
from robustest.engine.health import HealthFinding as HealthFinding
from robustest.extensions import Command as Command
from robustest.extensions import Section as Section
from robustest.extensions import hookimpl as hookimpl
from robustest.facts import Captions as Captions
from robustest.facts import Fact as Fact
from robustest.kinds import OUTCOMES as OUTCOMES
from robustest.kinds import Kind as Kind
from robustest.kinds import Quantity as Quantity
from robustest.regular import Unfit as Unfit
from robustest.regular import open_regular as open_regular
from robustest.regular import parts_below as parts_below
from robustest.results import Pairing as Pairing
from robustest.results import Result as Result
from robustest.results import Verdict as Verdict
from robustest.run.driver import observe as observe
from robustest.run.engines.engine import Engine as Engine
from robustest.run.engines.engine import Job as Job
from robustest.run.engines.engine import Mapper as Mapper
from robustest.run.evidence import Evidence as Evidence
from robustest.run.evidence import Exhibit as Exhibit
from robustest.run.evidence import Observed as Observed
from robustest.run.evidence import exhibits_of as exhibits_of
from robustest.run.noting import measures as measures
from robustest.run.options import Options as Options
from robustest.run.options import settings_of as settings_of
from robustest.run.options import terms_of as terms_of
from robustest.run.own_units import OwnUnits as OwnUnits
from robustest.run.own_units import Part as Part
from robustest.run.plan import Plan as Plan
from robustest.run.remembered.comparison import Baseline as Baseline
from robustest.run.result_building import finish as finish
from robustest.run.result_building import shown_path as shown_path
from robustest.run.setup import Setup as Setup
from robustest.settings import Settings as Settings

if TYPE_CHECKING:
    from robustest.claims.strategies.hypothesis_search import hunt as hunt


def __getattr__(name: str) -> object:
    if name == "hunt":  # hypothesis takes as long to load as many a claim takes to measure
        from robustest.claims.strategies.hypothesis_search import hunt

        return hunt
    raise AttributeError(f"module 'robustest.packs' has no attribute {name!r}")
