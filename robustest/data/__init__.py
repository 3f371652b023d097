"""Data: every common form becomes `Samples`, with a length and samples by index.

Names load when first used: recorded outcomes need no torch.
"""

from typing import TYPE_CHECKING

from robustest.lazy import lazy_names

if TYPE_CHECKING:
    from robustest.data.benchmarks import ALEXNET_ON_IMAGENET_C as ALEXNET_ON_IMAGENET_C
    from robustest.data.benchmarks import BENCHMARKS as BENCHMARKS
    from robustest.data.benchmarks import Benchmark as Benchmark
    from robustest.data.benchmarks import ClassMap as ClassMap
    from robustest.data.benchmarks import CorruptedBenchmark as CorruptedBenchmark
    from robustest.data.benchmarks import SequenceBenchmark as SequenceBenchmark
    from robustest.data.boxes import coco_boxes as coco_boxes
    from robustest.data.boxes import voc_boxes as voc_boxes
    from robustest.data.boxes import yolo_boxes as yolo_boxes
    from robustest.data.groups import subgroups as subgroups
    from robustest.data.hierarchies import BREEDS as BREEDS
    from robustest.data.hierarchies import BreedsSplit as BreedsSplit
    from robustest.data.hierarchies import ClassTree as ClassTree
    from robustest.data.hierarchies import Domain as Domain
    from robustest.data.hierarchies import breeds_split as breeds_split
    from robustest.data.judge_labels import JudgeLabels as JudgeLabels
    from robustest.data.outcomes import Outcomes as Outcomes
    from robustest.data.samples import Samples as Samples
    from robustest.data.samples import Waveforms as Waveforms
    from robustest.data.samples import as_samples as as_samples
else:
    _HOME = {
        "data.benchmarks": (
            "ALEXNET_ON_IMAGENET_C",
            "BENCHMARKS",
            "Benchmark",
            "ClassMap",
            "CorruptedBenchmark",
            "SequenceBenchmark",
        ),
        "data.boxes": ("coco_boxes", "voc_boxes", "yolo_boxes"),
        "data.groups": ("subgroups",),
        "data.hierarchies": (
            "BREEDS",
            "BreedsSplit",
            "ClassTree",
            "Domain",
            "breeds_split",
        ),
        "data.judge_labels": ("JudgeLabels",),
        "data.outcomes": ("Outcomes",),
        "data.samples": (
            "Samples",
            "Waveforms",
            "as_samples",
        ),
    }
    _SUBMODULES = frozenset({"benchmarks", "clusters", "frames", "groups", "hierarchies", "outcomes", "samples"})
    _MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME, _SUBMODULES)
