"""Storage and display of loss curves.

A worker that trains a trial reports points of the loss curve from time to time. The points of one
report are stored together, as one chunk: a compressed array of float64 columns (`encode`,
`decode`).

A trial may need several attempts, for example after a crash. `join_chunks` joins the chunks of all
attempts into one curve. To display a curve, `thin` divides the points into buckets and keeps the
smallest and the largest loss in each bucket, so that spikes stay visible.

When a trial completes, an outline of the curve is stored, too. An outline is a short version of the
curve with only tokens and losses (`outline_of`, `packed`, `unpacked`).

The blob (the stored bytes) of a chunk has three parts: a header (`HEADER`), the names of the
metrics as JSON, and the columns compressed by zlib. The columns are step, tokens, flops, seconds,
and one column per metric. The blob of an outline is a float32 array [2, points] of tokens and
losses. It is not compressed, so that thousands of outlines are quick to read.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from telescope.client.resources import Curve
from telescope.errors import TelescopeError
from telescope.trials.outcome import Measurement
from telescope.trials.outline import Outline, outlined

FORMAT = 1
HEADER = struct.Struct("<BHI")  # format version, length of the names in bytes, number of points
FIXED = ("step", "tokens", "flops", "seconds")  # columns of every curve


@dataclass(frozen=True)
class Chunk:
    """Consecutive points of the curve of one attempt, encoded as a blob."""

    attempt: int
    blob: bytes


class DamagedCurve(TelescopeError):
    """A stored chunk has a format that this version cannot read."""

    code = "damaged_curve"


def encode(points: Sequence[Measurement]) -> bytes:
    """Encode points as one blob. A metric that a point lacks is stored as NaN."""
    names = sorted({name for point in points for name in point.metrics})
    fixed = [[getattr(point, name) for point in points] for name in FIXED]
    metrics = [[point.metrics.get(name, math.nan) for point in points] for name in names]
    columns = np.array([*fixed, *metrics], dtype="<f8")
    header = json.dumps(names).encode()
    return (
        HEADER.pack(FORMAT, len(header), len(points))
        + header
        + zlib.compress(columns.tobytes(), level=1)
    )


def decode(blob: bytes) -> tuple[list[str], np.ndarray]:
    """Return the names of the metrics, and the columns as an array [4 + metrics, points].

    Raises DamagedCurve if the blob has another format version.
    """
    version, name_bytes, points = HEADER.unpack_from(blob)
    if version != FORMAT:
        message = f"a curve chunk has format {version}; this version of telescope reads {FORMAT}"
        raise DamagedCurve(f"{message}; upgrade telescope, or restore the database from a backup")
    start = HEADER.size + name_bytes
    names = json.loads(blob[HEADER.size : start])
    columns = np.frombuffer(zlib.decompress(blob[start:]), dtype="<f8")
    return names, columns.reshape(len(FIXED) + len(names), points)


def join_chunks(trial_id: int, chunks: Iterable[Chunk]) -> Curve:
    """Join all chunks of a trial into one curve.

    Points of earlier attempts are dropped from the first step of a later attempt on.
    """
    decoded = [(chunk.attempt, *decode(chunk.blob)) for chunk in chunks]
    names = sorted({name for _, metrics, _ in decoded for name in metrics})
    table = np.empty((len(FIXED) + len(names), 0))
    for _, metrics, columns in sorted(decoded, key=lambda chunk: (chunk[0], chunk[2][0, 0])):
        points = np.full((len(table), columns.shape[1]), np.nan)
        points[: len(FIXED)] = columns[: len(FIXED)]
        for row, name in enumerate(metrics, start=len(FIXED)):
            points[len(FIXED) + names.index(name)] = columns[row]
        table = np.hstack([table[:, table[0] < points[0, 0]], points])
    return _curve(trial_id, names, table)


def thin(curve: Curve, points: int) -> Curve:
    """Thin a curve to about `points` points. A curve with at most `points` points stays unchanged.

    The first and the last point are kept. The points are divided into buckets, and the points with
    the smallest and the largest train_loss in each bucket are kept. A missing train_loss counts as
    infinite. If the curve has no train_loss, the first metric is used instead.

    All points with a held-out loss are also kept if there are at most `points` of them. The thinned
    curve may then have about twice `points` points.
    """
    if len(curve.step) <= points:
        return curve
    losses = curve.metrics.get("train_loss") or next(iter(curve.metrics.values()))
    values = np.array([math.inf if value is None else value for value in losses])
    keep = {0, len(values) - 1}
    for bucket in np.array_split(np.arange(len(values)), max(1, (points - 2) // 2)):
        keep |= {int(bucket[values[bucket].argmin()]), int(bucket[values[bucket].argmax()])}
    measured = [
        index for index, value in enumerate(curve.metrics.get("loss", ())) if value is not None
    ]
    if len(measured) <= points:  # the results of studies rest on the held-out losses
        keep |= set(measured)
    order = sorted(keep)
    metrics = {name: tuple(column[i] for i in order) for name, column in curve.metrics.items()}
    fixed = {name: tuple(getattr(curve, name)[i] for i in order) for name in FIXED}
    return Curve(curve.trial_id, metrics=metrics, **fixed)


def outline_of(curve: Curve) -> Outline:
    """Return the outline of a curve."""
    missing = (None,) * len(curve.tokens)
    trained, held_out = (
        np.array(curve.metrics.get(name, missing), dtype=np.float64)  # None becomes nan
        for name in ("train_loss", "loss")
    )
    return outlined(curve.tokens, trained, held_out)


def packed(outline: Outline) -> bytes:
    """Encode an outline's tokens and losses as float32."""
    return np.stack([outline.tokens, outline.loss]).astype("<f4").tobytes()


def unpacked(blob: bytes, held_out: bool) -> Outline:
    """Decode an outline.

    `held_out` says whether the losses are held-out losses. The database stores this flag in a
    column of its own, not in the blob.
    """
    tokens, loss = np.frombuffer(blob, dtype="<f4").reshape(2, -1)
    return Outline(tokens, loss, held_out)


def _curve(trial_id: int, names: list[str], table: np.ndarray) -> Curve:
    step, tokens, flops, seconds = table[: len(FIXED)].tolist()
    metrics = {
        name: tuple(value if math.isfinite(value) else None for value in column)
        for name, column in zip(names, table[len(FIXED) :].tolist(), strict=True)
    }
    return Curve(
        trial_id,
        tuple(map(int, step)),
        tuple(map(int, tokens)),
        tuple(flops),
        tuple(seconds),
        metrics,
    )
