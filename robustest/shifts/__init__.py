"""Distribution shifts: pure functions of a batch, on whatever device it is."""

from robustest.shifts.following import followed as followed
from robustest.shifts.registry import COMMON_CORRUPTIONS as COMMON_CORRUPTIONS
from robustest.shifts.registry import CORRUPTIONS as CORRUPTIONS
from robustest.shifts.registry import EXTRA_CORRUPTIONS as EXTRA_CORRUPTIONS
from robustest.shifts.registry import SHIFTS as SHIFTS
from robustest.shifts.registry import Shift as Shift
from robustest.shifts.registry import ShiftedInputs as ShiftedInputs
from robustest.shifts.registry import ShiftFunction as ShiftFunction
from robustest.shifts.registry import as_shift as as_shift
from robustest.shifts.registry import corrupt as corrupt
from robustest.shifts.registry import family_name as family_name
from robustest.shifts.registry import shift_as_asked as shift_as_asked
from robustest.shifts.registry import shift_names as shift_names
