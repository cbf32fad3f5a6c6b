"""The arithmetic that a trial's numbers were computed with.

The same spec gives the same loss, up to noise that no estimate sees, wherever torch, the kind of
device and telescope's own arithmetic are the same. `numerics` names the three in one text. A
finished trial is reused for a trial of a later job where the text is equal.
"""

import torch

REVISION = 1
"""Revision of what training computes. Raise it with every change that moves a loss; the golden
losses of `tests/telescope/train/test_loop.py` show such a change."""


def numerics() -> str:
    """The arithmetic of this process: torch, device, telescope's revision."""
    # 0.1.0 stays in later versions: trials that it stored are reused as long as REVISION is the same
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"torch {torch.__version__} on {device}, telescope 0.1.0 revision {REVISION}"
