"""Names of the packs that are kept in step with robustest, by the extra that installs each.

robustest imports no pack. A name of a pack that is looked for in robustest is answered with the extra that has it.
"""

from __future__ import annotations

_NAMES = {
    extra: frozenset(names.split())
    for extra, names in {
        "http": """
            Cassette chat_function Delivery HeaderFromEnv json_function json_model Multipart open_inference_model
            tf_serving_model torchserve_model
        """,
        "interpret": """
            assert_class_evidence assert_gradient_alignment assert_invertible_features assert_no_backdoor_trigger
            assert_no_failure_direction assert_sparse_head Discovery fit_sparse_head measure_class_evidence
            measure_gradient_alignment measure_invertible_features measure_no_backdoor_trigger
            measure_no_failure_direction measure_sparse_head picture_features picture_inversions sparse_stability
        """,
        "onnx": """
            Frames onnx_model
        """,
        "people": """
            aggregate Agreement Annotations annotator_quality AnnotatorQuality assert_cue_noticed
            assert_label_agreement assert_label_quality assert_multilabel_accuracy assert_replication_gap
            assert_selection_gap assert_simulatable cohen_kappa Consensus fleiss_kappa krippendorff_alpha Responses
            suspects Suspects
        """,
        "ray": """
            RayEngine
        """,
        "rl": """
            ActionAttack ActionDelay ActionNoise assert_robust_return Away Directed Dynamics Lower
            measure_gradient_concentration measure_robust_return measure_surrogate measure_value_quality Noise
            Observation plot_returns replay SensorBias SensorDelay SensorDropout Shown Sometimes Trace
        """,
        "training": """
            assert_nonrobust_reliance assert_robust_generalization assert_smooth_landscape assert_synthetic_covers
            measure_nonrobust_reliance measure_robust_generalization measure_smooth_landscape
            measure_synthetic_covers plot_generalization repair SampleCount samples_for
        """,
    }.items()
}
"""Public names of the pack robustest-EXTRA, whose package is robustest_EXTRA."""

_GIVEN = {("engine", "ray"): "ray", ("search for cues", "auto"): "interpret"}
"""Extras by the noun and the name of an object that a pack gives by a hook."""


def extra_with(name: str) -> str:
    """Return the extra whose pack has a public name; empty if none has."""
    return next((extra for extra, names in _NAMES.items() if name in names), "")


def given_by_extras(what: str) -> dict[str, str]:
    """Return the extras by the names that their packs give by a hook, for a noun such as "engine"."""
    return {name: extra for (noun, name), extra in _GIVEN.items() if noun == what}
