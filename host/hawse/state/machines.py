"""The two forms of the transition function, by name."""

from .batch import BatchState
from .machine import Machine
from .native.batch import PackedBatch
from .native.machine import NativeMachine

#: Either form, and what either gives of a batch.
AnyMachine = Machine | NativeMachine
AnyBatch = BatchState | PackedBatch

#: What makes a machine of a configuration, by the form's name.
FORMS: dict[str, type[Machine] | type[NativeMachine]] = {"native": NativeMachine, "golden": Machine}
#: The form that is taken where none is asked for.
DEFAULT = "native"
