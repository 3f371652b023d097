"""Names for authors of packs, to build claims, engines and models.

`robustest.extensions` has the hooks by which a pack is found. Packs import all other names from here, from `robustest`
and from its public modules (`attacks`, `clock`, `cues`, `data`, `errors`, `measure`, `plots`, `rng`, `shifts`, `tasks`,
`threats`): other modules may change.
"""

# Names load when first used, so that a pack's command starts without torch.

from __future__ import annotations

from robustest.lazy import lazy_names

_HOME: dict[str, tuple[str, ...]] = {
    "checks": ("checked_real", "checked_whole"),
    "claims.cues.interventions": ("CueLimits", "CueSearch"),
    "claims.datasets": ("accuracy_of",),
    "claims.robustness.attacking": ("Attacking", "attack_of_call", "check_threat", "draws_in"),
    "claims.strategies": ("hunt",),
    "claims.training_controls": (
        *("CONTROLS", "ControlAnswers", "ControlData"),
        *("doubt_of_controls", "doubt_of_null", "rows_of"),
    ),
    "cli.questions": ("PLACE", "Facts", "Probe"),
    "cli.screen": ("Exit", "Refused", "Screen", "counted", "wrong"),
    "context": ("current",),
    "data.groups": ("Groups", "LabelSets", "Scores", "as_groups", "as_label_sets", "predicted_sets"),
    "data.near_copies": ("Neighbours", "leaked_copies", "near_copies", "neighbours"),
    "decisions": ("Decision", "DrawsRule", "Rule", "ShareRule", "Terms", "checked_threshold", "optional_threshold"),
    "decisions.two_set_drop": ("cluster_difference_interval", "cluster_mean_interval"),
    "decisions.cues": ("worst_of",),
    "decisions.drop": ("mcnemar",),
    "decisions.multiplicity": ("group_level",),
    "decisions.paired": ("paired_interval",),
    "decisions.rule": ("Columns", "EarlyVerdict", "about", "approximate", "judge_interval"),
    "decisions.share": ("clopper_pearson",),
    "decisions.strata": ("StrataRule",),
    "decisions.thresholds": ("count_at_most",),
    "devices": ("fast_in_bfloat16", "of_worker", "random_states", "resolve", "seed_device"),
    "engine.ascent": ("advanced", "ascend", "away_from", "inverted", "relative_distance", "towards_class"),
    "engine.chunks": ("Chunk", "check_data", "load", "may_repeat"),
    "engine.evaluator": ("Evaluator", "seed_draws"),
    "engine.features": ("in_order", "reader", "find_last_layer"),
    "extensions": ("Command", "Section", "hookimpl"),
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
    "run.copies": ("without_copies",),
    "run.driver": ("observe",),
    "run.evidence": ("Evidence", "Exhibit", "Look", "Observation", "Tally", "exhibits_of", "unchanged_exhibits"),
    "run.finish": ("fallible", "few", "finish", "result_of", "shown_path"),
    "run.grounds": ("Changed", "new_samples", "radius_of"),
    "run.measurement": ("assertion", "measurement"),
    "run.memory": ("entry_of", "outcomes_in"),
    "run.units": ("OwnUnits", "Part"),
    "run.options": ("Options", "settings_of", "terms_of"),
    "run.plan": ("Plan", "Setup", "apply"),
    "run.workers": ("Engine", "Job", "Mapper"),
    "safe_files": ("UnsafeFile", "open_regular", "parts_below", "read_below", "read_regular", "write_atomic"),
    "settings": ("Settings",),
    "store.entries": ("Entry", "Store", "pack", "unpack"),
    "store.files": ("Damaged",),
    "store.provenance": ("when",),
    "words": ("interval_in_words", "number"),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - its stub lists them
