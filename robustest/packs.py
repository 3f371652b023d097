"""What packs are written with: kinds of claims and their measurements, decisions, models, trainings and files.

`robustest.extensions` has the hooks by which a pack is found, and `robustest` with its public modules (`attacks`,
`clock`, `cues`, `data`, `errors`, `extensions`, `measure`, `plots`, `rng`, `shifts`, `tasks`, `threats`) what users
have too. Packs import from these and from here alone: all other modules may change in any release.

**The promise.** From 0.1.0 on, a name that is here stays, with the arguments and results that its docstring states,
until the next major release. A name that goes, or changes so that a pack would have to, warns for two minor releases
before, by a `DeprecationWarning` that names its successor. Arguments may be added with defaults, fields to values,
members to protocols that robustest alone implements. Not promised are private members, the words of messages, and the
numbers of searches, which may find more. A name comes in when a pack cannot do without it, and a test holds each to a
pack or a recipe that uses it: two names that are always used together become one that does the work of both.
"""

# Names load when first used, so that a pack's command starts without torch.

from __future__ import annotations

from robustest.lazy import lazy_names

_HOME: dict[str, tuple[str, ...]] = {
    # a kind of claim: its quantities, what reports show of it, its measurement and its assertion
    "kinds": ("Kind", "Quantity"),
    "results": ("Captions", "Fact", "Pairing"),
    "run.measurement": ("assertion", "measurement"),
    # from a call to a result
    "run.options": ("Options", "settings_of"),
    "context": ("current",),
    "run.plan": ("Plan", "Setup"),
    "run.units": ("OwnUnits", "Part"),
    "run.driver": ("observe",),
    "run.evidence": ("Evidence", "Exhibit", "Observation", "Tally", "exhibits_of"),
    "run.grounds": ("Changed",),
    "run.finish": ("finish",),
    "words": ("interval_in_words", "number"),
    "reports.pictures": ("save_sheet",),
    # decisions: outcomes in, a verdict and an interval out
    "decisions": ("Decision", "DrawsRule", "Rule", "ShareRule", "Terms", "checked_threshold"),
    "decisions.strata": ("StrataRule",),
    "decisions.rule": ("decide_by_interval",),
    "decisions.share": ("clopper_pearson",),
    "decisions.drop": ("paired_change",),
    "decisions.two_set_drop": ("cluster_mean_interval",),
    "checks": ("checked_real", "checked_whole"),
    # models: their passes, features, gradients and draws
    "engine.evaluator": ("Evaluator", "seed_draws"),
    "engine.chunks": ("Chunk",),
    "engine.features": ("Features",),
    "engine.ascent": ("ascend",),
    "models": ("frozen",),
    "claims.robustness.attacking": ("Attacking",),
    "claims.cues.interventions": ("CueSearch",),
    # trainings: remembered outcomes, controls, and samples that are trained on
    "models.training": ("check_train",),
    "run.remembered": ("Remembered",),
    "claims.training_controls": ("Controls",),
    "data.near_copies": ("Neighbours", "copied_from"),
    "data.groups": ("Groups", "LabelSets"),
    # files, engines and the command line
    "identity.fingerprint": ("digest",),
    "safe_files": ("SafeFolder",),
    "store.keyed_file": ("KeyedFile",),
    "run.workers": ("Engine", "Job"),
    "cli.questions": ("Probe",),
    "cli.screen": ("Screen",),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - its stub lists them
