"""The software and hardware on which the numbers of a trial depend.

The numbers depend on the version of torch, on the kind of device, and on the revision of
telescope's own arithmetic. `numerics` returns a string that names all three. If they are equal,
training the same specification again gives the same loss up to rounding, which estimates treat as
noise (telescope.train.compiled). A job reuses a trial of an earlier job only if the string is the
same for both jobs.
"""

import torch

REVISION = 1
"""Revision of telescope's own arithmetic. Raise it whenever a change of the code changes a loss by
more than rounding. The losses in GOLDEN (tests/telescope/train/test_loop.py) help to notice such a
change."""


def numerics() -> str:
    """The version of torch, the device of this process and the revision, as one string."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    # "0.1.0" must not follow telescope's version; otherwise, a new version could not reuse stored
    # trials
    return f"torch {torch.__version__} on {device}, telescope 0.1.0 revision {REVISION}"
