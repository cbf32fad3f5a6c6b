"""The tables of the database.

The tables `jobs` and `trials` hold only scalars and short texts, so that long lists of rows are
cheap to read. Documents have separate tables (`studies`, `results`, `specs`). A spec is the full
specification of a trial, and the digest of the spec identifies the trial within its job. A trial
may need several attempts. The column `attempt` has the number of the latest attempt, or of the next
attempt while the trial is PENDING.

The table `chunks` holds loss curves. An outline is a short version of a completed trial's curve.
The table `outlines` holds outlines. Two kinds of completed trials have no outline of their own:
trials that reuse the outcome of another trial, and trials that completed before migration 0004.

The package `migrations` creates the schema, and a test compares the schema with these tables.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.engine import Dialect

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)


class Instant(TypeDecorator[datetime]):
    """A point in time: seconds since 1970 in the database, a datetime in UTC in Python."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        """Convert a datetime to seconds."""
        return None if value is None else value.timestamp()

    def process_result_value(self, value: float | None, dialect: Dialect) -> datetime | None:
        """Convert seconds to a datetime."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


def _of_job(primary_key: bool = False) -> Column[str]:
    """Return a column that references a job. If the job is deleted, the row is deleted, too."""
    job = ForeignKey("jobs.id", ondelete="CASCADE")
    return Column("job_id", job, primary_key=primary_key, nullable=False)


jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),  # sorts by time of creation
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("requested", String(16)),
    Column("waiting_for", Text),
    Column("reason", Text),
    Column("owner", Text, nullable=False, server_default=""),
    Column("idempotency_key", Text),
    Column("body_hash", Text, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("trials_done", Integer, nullable=False, server_default=text("0")),
    Column("trials_total", Integer, nullable=False, server_default=text("0")),
    Column("best_loss", Double),
    Column("max_parallel", Integer),
    Column("max_seconds", Double),
    Column("running_since", Instant),
    Column("running_seconds", Double, nullable=False, server_default=text("0")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    UniqueConstraint("owner", "idempotency_key"),
    CheckConstraint(
        "state IN ('QUEUED','RUNNING','PAUSED','SUCCEEDED','FAILED','CANCELLED')", name="state"
    ),
    Index(None, "state", "id"),
)

studies = Table(
    "studies", metadata, _of_job(primary_key=True), Column("document", Text, nullable=False)
)

results = Table(
    "results",
    metadata,
    _of_job(primary_key=True),
    Column("final", Boolean, nullable=False, server_default=false()),
    Column("document", Text, nullable=False),
)

specs = Table(
    "specs",
    metadata,
    Column("digest", String(32), primary_key=True),
    Column("document", Text, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_job(),
    Column("digest", ForeignKey("specs.digest"), nullable=False),
    Column("optimizer", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("lr", Double, nullable=False),
    Column("weight_decay", Double, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("worker", Text),
    Column("loss", Double),
    Column("diverged", Boolean, nullable=False, server_default=false()),
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("steps", Integer, nullable=False),
    Column("batch_tokens", Integer),
    # Forecast of the FLOPs of the whole run. It is 0 in rows older than migration 0003.
    Column("flops_planned", Double, nullable=False, server_default=text("0")),
    Column("flops", Double, nullable=False, server_default=text("0")),
    Column("flops_spent", Double, nullable=False, server_default=text("0")),
    Column("seconds", Double, nullable=False, server_default=text("0")),
    Column("failure_kind", String(16)),
    Column("failure_message", Text),
    Column("measure", String(16), nullable=False, server_default="loss"),
    Column("metrics", Text),  # JSON of the metrics at the last point; it may contain Infinity
    Column("numerics", Text),  # device and software (telescope.trials.numerics), or MIXED
    # Id of a trial of another job. This trial reuses the outcome and the curve of that trial.
    Column("reused_from", ForeignKey("trials.id")),
    # The next four columns are the trial's place in its study. They are null in rows older than
    # migration 0005.
    Column("ladder", String(16)),
    Column("stage", Text),
    Column("level", Integer),
    Column("variant", Text),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    UniqueConstraint("job_id", "digest"),
    CheckConstraint("state IN ('PENDING','RUNNING','COMPLETED','FAILED','STOPPED')", name="state"),
    Index(None, "job_id", "id"),
    Index(None, "job_id", "state", "id"),
    Index(None, "digest"),
    sqlite_autoincrement=True,  # the id of a deleted row is never assigned again
)

chunks = Table(
    "chunks",
    metadata,
    Column("trial_id", ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    # The first step identifies a chunk within its attempt, so that a repeated report of a worker
    # adds no second chunk.
    Column("first_step", Integer, primary_key=True),
    Column("blob", LargeBinary, nullable=False),
)

outlines = Table(
    "outlines",
    metadata,
    Column("trial_id", ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True),
    Column("held_out", Boolean, nullable=False),
    # The blob is not compressed, so that a study can read the outlines of all its trials quickly.
    Column("blob", LargeBinary, nullable=False),
)
