"""Distribution shifts: pure functions of a batch of images or signals, on any device, by name and severity.

`registry` lists them and applies them; `pixels`, `blur`, `weather` and `geometric` define them on images in [0, 1] with
the parameters in `tables`, `audio` and `series` on signals in their own units, `frames` on
tables.
"""

from robustest.shifts.audio import Clipping as Clipping
from robustest.shifts.audio import Codec as Codec
from robustest.shifts.audio import Delay as Delay
from robustest.shifts.audio import Gain as Gain
from robustest.shifts.audio import LowPass as LowPass
from robustest.shifts.audio import MuLaw as MuLaw
from robustest.shifts.audio import Noise as Noise
from robustest.shifts.audio import Reverberation as Reverberation
from robustest.shifts.audio import TimeStretch as TimeStretch
from robustest.shifts.frames import LaterDate as LaterDate
from robustest.shifts.frames import MissingCells as MissingCells
from robustest.shifts.frames import QuantileDrift as QuantileDrift
from robustest.shifts.frames import RoundedColumn as RoundedColumn
from robustest.shifts.frames import SetColumn as SetColumn
from robustest.shifts.frames import SwappedColumns as SwappedColumns
from robustest.shifts.frames import UnitError as UnitError
from robustest.shifts.registry import COMMON_CORRUPTIONS as COMMON_CORRUPTIONS
from robustest.shifts.registry import CORRUPTIONS as CORRUPTIONS
from robustest.shifts.registry import EXTRA_CORRUPTIONS as EXTRA_CORRUPTIONS
from robustest.shifts.registry import SHIFTS as SHIFTS
from robustest.shifts.registry import SIGNALS as SIGNALS
from robustest.shifts.registry import Shift as Shift
from robustest.shifts.registry import ShiftedInputs as ShiftedInputs
from robustest.shifts.registry import ShiftFunction as ShiftFunction
from robustest.shifts.registry import as_shift as as_shift
from robustest.shifts.registry import corrupt as corrupt
from robustest.shifts.registry import family_name as family_name
from robustest.shifts.registry import follow_targets as follow_targets
from robustest.shifts.registry import requested_shift as requested_shift
from robustest.shifts.registry import shift_names as shift_names
from robustest.shifts.series import Drift as Drift
from robustest.shifts.series import Dropout as Dropout
from robustest.shifts.series import Jitter as Jitter
from robustest.shifts.series import Missing as Missing
from robustest.shifts.series import TimeWarp as TimeWarp
from robustest.shifts.text import TEXT_SHIFTS as TEXT_SHIFTS
from robustest.shifts.text import Synonyms as Synonyms
