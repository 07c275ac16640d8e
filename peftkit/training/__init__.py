"""The one loop, for every method, task and number of processes."""

from peftkit.training.devices import import_stack, make_accelerator
from peftkit.training.guard import Guard
from peftkit.training.loop import Loop, plan_steps
from peftkit.training.optimizers import optimization
from peftkit.training.trackers import check_trackers, track

__all__ = ["Guard", "Loop", "check_trackers", "import_stack", "make_accelerator", "optimization", "plan_steps", "track"]
