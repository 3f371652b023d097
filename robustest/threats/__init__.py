"""Threat models: the inputs that an attacker may choose, as pure functions on batched tensors.

A threat gives the region around a sample (`region`), brings any proposal back into it (`project`), turns a proposal
into a model input (`render`), and measures it (`size`). Norm balls work for any input shape `(N, *S)`, `Patch` and
`Spatial` for images; `eps` is in input units.
"""

from robustest.threats.columns import AnyOf as AnyOf
from robustest.threats.columns import ColumnRule as ColumnRule
from robustest.threats.columns import Columns as Columns
from robustest.threats.columns import Decrease as Decrease
from robustest.threats.columns import Fixed as Fixed
from robustest.threats.columns import Increase as Increase
from robustest.threats.columns import Linear as Linear
from robustest.threats.columns import Relative as Relative
from robustest.threats.columns import Whole as Whole
from robustest.threats.columns import Within as Within
from robustest.threats.edits import Append as Append
from robustest.threats.edits import Edits as Edits
from robustest.threats.edits import Insert as Insert
from robustest.threats.images import Patch as Patch
from robustest.threats.images import Spatial as Spatial
from robustest.threats.threat import L0 as L0
from robustest.threats.threat import L1 as L1
from robustest.threats.threat import L2 as L2
from robustest.threats.threat import Bounds as Bounds
from robustest.threats.threat import Discrete as Discrete
from robustest.threats.threat import Euclidean as Euclidean
from robustest.threats.threat import Linf as Linf
from robustest.threats.threat import Rows as Rows
from robustest.threats.threat import Snr as Snr
from robustest.threats.threat import Threat as Threat
from robustest.threats.threat import Unbounded as Unbounded
from robustest.threats.threat import by_pixel as by_pixel
from robustest.threats.threat import clip as clip
from robustest.threats.threat import difference as difference
from robustest.threats.threat import filled as filled
from robustest.threats.threat import is_discrete as is_discrete
from robustest.threats.threat import length as length
from robustest.threats.threat import per_row as per_row
from robustest.threats.threat import rendered as rendered
from robustest.threats.threat import sparse as sparse
from robustest.threats.threat import within as within
