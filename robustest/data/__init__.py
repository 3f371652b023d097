"""The data people have, behind one face: a length, and samples by index."""

from robustest.data.samples import Samples as Samples
from robustest.data.samples import as_samples as as_samples
