"""The arithmetic that a trial's numbers were computed with.

A spec gives the same loss, up to differences too small to affect an estimate, if the torch version,
the kind of device and telescope's own arithmetic are the same. `numerics` returns a string that
names all three. A job reuses a trial of an earlier job only if this string is the same for both.
"""

import torch

REVISION = 1
"""Revision of telescope's own arithmetic. Increase it with every change that moves a loss; the
golden losses of `tests/telescope/train/test_loop.py` show such a change."""


def numerics() -> str:
    """The arithmetic of this process as a string: torch version, device, telescope's revision."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    # "0.1.0" stays in every version of telescope: stored trials are reused until REVISION changes
    return f"torch {torch.__version__} on {device}, telescope 0.1.0 revision {REVISION}"
