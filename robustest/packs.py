"""Names for authors of packs, to build claims, engines and models.

`robustest.extensions` has the hooks by which a pack is found. Packs import all other names from here, from `robustest`
and from its public modules (`attacks`, `clock`, `cues`, `data`, `errors`, `measure`, `plots`, `rng`, `shifts`, `tasks`,
`threats`): other modules may change.
"""

# Names load when first used, so that a pack's command starts without torch.

from __future__ import annotations

from robustest.lazy import lazy_names

_HOME: dict[str, tuple[str, ...]] = {
    "checks": ("checked_images", "checked_real", "checked_whole", "require"),
    "claims.cues.interventions": (
        *("CUE_NAMES", "CueLimits", "CueMeasurement", "CueSearch", "NO_SPURIOUS_FEATURE"),
        *("checked_by_null_cue", "cue_details", "with_control"),
    ),
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
    "cues.cue": ("Colour", "Drawn", "Irreversible", "planted_at", "sample_keys"),
    "cues.patches": ("CutOut", "least_distances", "nearest_places"),
    "cues.whole_images": ("frequency_radius",),
    "data.groups": ("Groups", "LabelSets", "Scores", "as_groups", "as_label_sets", "predicted_sets"),
    "data.near_copies": ("Neighbours", "leaked_copies", "near_copies", "neighbours"),
    "decisions": (
        *("Decision", "DrawsRule", "DropRule", "MeanRule", "Rule", "ShareRule", "Terms"),
        *("checked_threshold", "optional_threshold"),
    ),
    "decisions.two_set_drop": ("cluster_difference_interval", "cluster_mean_interval"),
    "decisions.cues": ("CLASSES", "CuePairs", "CueRule", "draw_p_values", "off_column", "on_column", "worst_of"),
    "decisions.drop": ("mcnemar",),
    "decisions.multiplicity": ("group_level",),
    "decisions.paired": ("paired_interval",),
    "decisions.rate": ("AgreementRule",),
    "decisions.rule": ("Columns", "EarlyVerdict", "about", "approximate", "judge_interval"),
    "decisions.share": ("clopper_pearson",),
    "decisions.strata": ("StrataRule",),
    "decisions.thresholds": ("count_at_most",),
    "devices": ("fast_in_bfloat16", "of_worker", "random_states", "resolve", "seed_device"),
    "engine.answer_checks": ("check_forward",),
    "engine.ascent": (
        *("advanced", "ascend", "away_from", "grey", "inverted", "maximised"),
        *("relative_distance", "towards_class"),
    ),
    "engine.chunks": ("Chunk", "check_data", "load", "may_repeat"),
    "engine.evaluator": ("Evaluator", "seed_draws"),
    "engine.features": ("features_of", "in_order", "reader", "find_last_layer"),
    "engine.gradient_checks": ("probe_gradient",),
    "extensions": ("Command", "Section", "hookimpl"),
    "health": ("HealthFinding",),
    "identity.fingerprint": ("digest",),
    "identity.keys": ("Key", "Unhashable", "key_of"),
    "kinds": ("Kind", "OUTCOMES", "Quantity", "no_lines"),
    "models": ("Needs", "frozen"),
    "models.classifier": ("Preprocessing", "logits_of"),
    "models.last_layer": ("LastLayer", "last_layer"),
    "models.training": ("TrainFn", "check_train"),
    "reports.pictures": ("save_sheet",),
    "results": ("Captions", "Fact", "NOT_PAIRED", "Pairing", "Result", "Verdict"),
    "run.comparison": ("Baseline",),
    "run.copies": ("without_copies",),
    "run.driver": ("observe",),
    "run.evidence": (
        "Evidence",
        "Exhibit",
        "Look",
        "Observation",
        "OtherModel",
        "Tally",
        "exhibits_of",
        "unchanged_exhibits",
    ),
    "run.finish": ("fallible", "few", "finish", "result_of", "shown_path"),
    "run.grounds": ("Changed", "new_samples", "radius_of"),
    "run.measurement": ("assertion", "measurement"),
    "run.memory": ("entry_of", "outcomes_in"),
    "run.units": ("OwnUnits", "Part"),
    "run.options": ("Options", "settings_of", "terms_of"),
    "run.plan": ("Plan", "Setup", "apply"),
    "run.split_search": ("Bench", "Halves", "bench", "beside", "with_search", "with_second"),
    "run.workers": ("Engine", "Job", "Mapper"),
    "safe_files": ("UnsafeFile", "open_regular", "parts_below", "read_below", "read_regular", "write_atomic"),
    "settings": ("Settings",),
    "store.entries": ("Entry", "Store", "pack", "unpack"),
    "store.files": ("Damaged",),
    "store.provenance": ("when",),
    "tasks.class_losses": ("cross_entropy",),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - its stub lists them
