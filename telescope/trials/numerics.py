"""The software and hardware on which the numbers of a trial depend.

The numbers depend on the version of torch, on the kind of device, and on telescope's own
arithmetic. If all three are the same, training the same specification again gives the same loss, up
to rounding differences that estimates treat as noise (telescope.train.compiled). `numerics` returns
a string that names all three. A job reuses a trial of an earlier job only if this string is the
same for both jobs.
"""

import torch

REVISION = 1
"""Revision of telescope's own arithmetic. Increase it with every change of the code that changes a
loss. The expected losses in `tests/telescope/train/test_loop.py` show such a change."""


def numerics() -> str:
    """A string that names the version of torch, the device of this process, and the revision of
    telescope's own arithmetic."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    # "0.1.0" is the same in every version of telescope, so that a new version reuses stored trials
    return f"torch {torch.__version__} on {device}, telescope 0.1.0 revision {REVISION}"
