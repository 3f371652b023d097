"""Specifications of hooks: the functions that a pack may have, with the types that they take and return.

They stand above the rooms whose types they name. `robustest.extensions` finds packs and asks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from robustest.attacks import Cascade, Searcher, Stage
    from robustest.claims.cues.interventions import CueSearch
    from robustest.cli.questions import Facts, Probe
    from robustest.data.outcomes import Outcomes
    from robustest.extensions import Command, Section
    from robustest.kinds import Kind
    from robustest.results import Result
    from robustest.run.workers import Engine
    from robustest.settings import Settings
    from robustest.shifts import ShiftFunction
    from robustest.tasks import Task
    from robustest.threats import Threat


class Hooks(Protocol):
    """The hooks of a pack. Each is optional, and may leave out arguments."""

    def robustest_attacks(self) -> Mapping[str, Callable[[], Searcher | Cascade]]:
        """Return attacks by name, each as a function of no arguments that makes it.

        Called when `attack=`, the ini key `robust_attack` or a profile names an attack that robustest does not have.
        """

    def robustest_searches(self, threat: Threat) -> Sequence[Stage]:
        """Return the stages for a threat; none for a threat that the pack does not know.

        Called before a model is attacked by one of robustest's own cascades ("fast", "standard", "thorough" ...). The
        stages run after those of the cascade, on the samples that these left, and the cascade's name in reports ends in
        " + " and the pack's name. A threat of the pack gets all its stages here.

        Args:
            threat: the threat of the claim.
        """

    def robustest_shifts(self) -> Mapping[str, ShiftFunction]:
        """Return shifts by name, each as a function of a batch in input units.

        Called when a claim or `corrupt` names a shift that robustest does not have.
        """

    def robustest_cue_searches(self) -> Mapping[str, Callable[[], CueSearch]]:
        """Return searches for unnamed cues by name, each as a function of no arguments that makes it.

        Called when `cue=` is a name.
        """

    def robustest_tasks(self) -> Mapping[str, Callable[[], Task]]:
        """Return tasks by name, each as a function of no arguments that makes it.

        Called when `task=` is a name.
        """

    def robustest_kinds(self) -> Sequence[Kind]:
        """Return the kinds of claim of the pack's assertions.

        Called by `robustest.claims.kinds()`, and when a claim is measured. A name that another kind has is an error
        of every claim of either, as results are compared by the names of their kinds.
        """

    def robustest_read(self, data: object) -> object | None:
        """Return data that robustest reads, `(x, y)` or a data set, or None for a type that the pack does not know.

        Called with data of types that robustest does not know; the first pack that answers decides. The same data must
        give the same samples each time: workers read them too.

        Args:
            data: the argument of the claim.
        """

    def robustest_outcomes(self) -> Mapping[str, Callable[[Path, Mapping[str, Any]], Outcomes]]:
        """Return readers of recorded outcomes by name, each as a function of a path and the keywords of the call.

        Called when `Outcomes.read(path, reader=NAME)` names a reader that robustest does not have.
        """

    def robustest_engines(self) -> Mapping[str, Callable[[Settings], Engine]]:
        """Return engines by name, each as a function that opens it with a run's settings.

        Called when `--robust-engine` or the ini key `robust_engine` names an engine that robustest does not have.
        """

    def robustest_sections(self, results: Sequence[Result]) -> Sequence[Section]:
        """Return the sections that a report shows below its claims; may be empty.

        Called once for each run, after its last test, and by `robustest show` and `robustest merge`. Sections carry no
        verdict; a hook that raises makes the run red.

        Args:
            results: results of the run, in the order of its tests.
        """

    def robustest_commands(self) -> Sequence[Command]:
        """Return commands of the command line. Called when the command `robustest` starts."""

    def robustest_probes(self, facts: Facts) -> Sequence[Probe]:
        """Return further questions that `robustest init --scan` puts to a project's model.

        Called by the scan. Each question is the source of a test, which imports in its body.

        Args:
            facts: kind and values of the samples, framework of the model, names of the fixtures.
        """
