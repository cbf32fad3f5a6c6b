"""The process of a coordinator.

While the process holds the coordinator's lock, it runs the loop that plans trials and records their
results (`api.coordinator.loop`). The lock allows one coordinator per database at a time.
"""

import signal
import threading
import time

from api.coordinator.loop import Coordinator, log
from api.settings import Settings
from api.store.engines import CoordinatorLock
from api.store.record import CoordinatorStore
from telescope.models import factory
from workers.interface import Executor

LOCK_POLL_SECONDS = 0.5  # pause between attempts to acquire the lock


def main(settings: Settings) -> None:
    """Run the coordinator of an installation until this process receives SIGTERM or SIGINT.

    If another coordinator is running, first wait until that coordinator ends.
    """
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    record = CoordinatorStore(settings.database_url)
    record.check_revision()
    lock = CoordinatorLock(settings.database_url)
    if not lock.acquire():
        log.info("another coordinator is running; waiting for it to end")
        while not stop.is_set() and not lock.acquire():
            time.sleep(LOCK_POLL_SECONDS)
    if not stop.is_set():
        executor = build_executor(settings)
        try:
            Coordinator(
                record,
                executor,
                settings.checkpoint_dir,
                poll_seconds=settings.poll_seconds,
                max_attempts=settings.max_attempts,
            ).run(stop, lock)
        finally:
            executor.close()
    lock.release()
    record.close()


def build_executor(settings: Settings) -> Executor:
    """Create the executor that the settings name. Import Ray only if that executor uses Ray."""
    if settings.executor == "local":
        from workers.local import LocalExecutor

        return LocalExecutor()
    from workers.on_ray.cluster import Joining  # imports Ray

    code = tuple(factory.code(settings.factories))
    joining = Joining(settings.ray_address, settings.shared_storage, settings.gpus_per_worker, code)
    if settings.executor == "ray_tune":
        from workers.on_ray.tune import TuneExecutor

        return TuneExecutor(settings.workers, joining=joining, loggers=settings.tune_loggers)
    from workers.on_ray.actors import RayExecutor

    return RayExecutor(settings.workers, joining=joining)
