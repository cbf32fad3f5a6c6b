"""The arithmetic that a trial's numbers were computed with.

The same spec gives the same loss, up to noise too small for any estimate, if the torch version, the
kind of device and telescope's own arithmetic are the same. `numerics` names the three in one text.
A later job reuses a finished trial if this text is equal.
"""

import torch

REVISION = 1
"""Revision of telescope's own arithmetic. Increase it with every change that moves a loss; the
golden losses of `tests/telescope/train/test_loop.py` show such a change."""


def numerics() -> str:
    """The arithmetic of this process: torch version, device, telescope's revision."""
    # later versions also write 0.1.0, so that trials which it stored are reused under one REVISION
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"torch {torch.__version__} on {device}, telescope 0.1.0 revision {REVISION}"
