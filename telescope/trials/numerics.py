"""With what were a trial's numbers computed?

The same spec gives the same loss, within noise that no estimate sees, wherever torch, the kind of device and telescope's own arithmetic
are the same. `numerics` names the three in one text. A finished trial stands in for one of a later job where the text is equal.
"""

import torch

import telescope

REVISION = 1
"""Of what training computes. Raise it with every change that moves a loss; the golden losses of
`tests/telescope/train/test_loop.py` tell."""


def numerics() -> str:
    """What this process computes with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"torch {torch.__version__} on {device}, telescope {telescope.__version__} revision {REVISION}"
