"""Helpers shared by the entry points: errors, run folders, checkpoints, seeds, training.

Every package imports this one first, since `wait_asleep` has no effect once torch is there.
"""

from utils.threads import wait_asleep

wait_asleep()
