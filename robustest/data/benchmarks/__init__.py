"""Named benchmarks, read from their unpacked archives."""

from robustest.data.benchmarks.corrupted import ALEXNET_ON_IMAGENET_C as ALEXNET_ON_IMAGENET_C
from robustest.data.benchmarks.corrupted import CorruptedBenchmark as CorruptedBenchmark
from robustest.data.benchmarks.corrupted import SequenceBenchmark as SequenceBenchmark
from robustest.data.benchmarks.images import ClassMap as ClassMap
from robustest.data.benchmarks.names import BENCHMARKS as BENCHMARKS
from robustest.data.benchmarks.names import Benchmark as Benchmark
from robustest.data.benchmarks.names import benchmark as benchmark
