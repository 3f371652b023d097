"""Benchmarks that have a name, read from where their archives were unpacked."""

from robustest.data.benchmarks.benchmark import Benchmark as Benchmark
from robustest.data.benchmarks.classes import ClassMap as ClassMap
from robustest.data.benchmarks.corrupted import CorruptedBenchmark as CorruptedBenchmark
from robustest.data.benchmarks.names import BENCHMARKS as BENCHMARKS
from robustest.data.benchmarks.names import benchmark as benchmark
from robustest.data.benchmarks.published import ALEXNET_ON_IMAGENET_C as ALEXNET_ON_IMAGENET_C
from robustest.data.benchmarks.sequences import SequenceBenchmark as SequenceBenchmark
