"""The program of `make demo`, which demonstrates telescope through its public HTTP interface.

The demonstration starts its own service, which uses SQLite, a Ray instance on this machine and a
free port. It submits the packaged quick-start job, follows the progress of the job, prints the
result, and writes the result as JSON and as a plot. Finally it stops the service, also after a
failure or Ctrl-C. The result and the files of the service are in the folder ./demo-result.

The exit status is 0 if the verdict of the result is `resolved`, and 1 for any other verdict. The
exit status is 3 if the service does not start or the job does not succeed, and 130 after Ctrl-C.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.cli import job_file
from api.cli.output import console, explain
from api.cli.remote import progress_updates
from api.coordinator.supervisor import Child, end, interruptible, port_to_use
from api.examples import EXAMPLES
from api.job_states import JobState
from api.terminal import pictures, telescoping
from api.terminal.follow import follow
from telescope.client.client import Client
from telescope.errors import TelescopeError, Unavailable

JOB = EXAMPLES["quickstart"].path
FOLDER = Path("demo-result")
START_SECONDS = 120.0
END_SECONDS = 9.0  # `telescope serve` ends its own children within this time

NEXT = """
What next? Start the service and POST a job of your own:

  .venv/bin/telescope examples quickstart > job.yaml
  .venv/bin/telescope serve
  curl -X POST http://127.0.0.1:8765/v1/jobs -H 'Content-Type: application/yaml' \\
    --data-binary @job.yaml

API documentation: http://127.0.0.1:8765/docs
Without a service: .venv/bin/telescope run job.yaml
"""


def main() -> int:
    """Run the demonstration and return its exit status."""
    try:
        document = job_file.read_job_file(JOB)
        with interruptible(), running_service(FOLDER) as url, Client(url) as client:
            return demonstrate(client, document, FOLDER)
    except TelescopeError as error:
        explain(error)
        print(f"Log of the service: {FOLDER / 'service.log'}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("Interrupted; the service is stopped.", file=sys.stderr)
        return 130


@contextmanager
def running_service(folder: Path) -> Iterator[str]:
    """Empty `folder`, run a service that keeps its files there, and yield the service's URL."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = port_to_use("127.0.0.1", 0)
    not_inherited = ("TELESCOPE_", "RAY_ADDRESS")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(not_inherited)
    }
    environment = inherited | {
        "TELESCOPE_HOME": str(folder.resolve() / "home"),
        "TELESCOPE_PORT": str(port),
        "TELESCOPE_COMPILE": "never",
    }
    url = f"http://127.0.0.1:{port}"
    with open(folder / "service.log", "wb") as log:
        print("Starting telescope (database, HTTP, Ray) ...", flush=True)
        child = Child("serve", environment, print, log)
        try:
            wait_until_ready(url, child)
            print(f"telescope is ready at {url}", flush=True)
            yield url
        finally:
            print("Stopping telescope ...", flush=True)
            end([child], END_SECONDS)


def wait_until_ready(url: str, child: Child) -> None:
    """Wait until the service is ready.

    If the service ends, or is not ready within `START_SECONDS`, raises Unavailable. The message
    then contains the last reason why the service was not ready.
    """
    deadline = time.monotonic() + START_SECONDS
    last_message = "it did not respond"
    with Client(url, timeout_seconds=3.0) as client:
        while child.process.poll() is None and time.monotonic() < deadline:
            try:
                client.ready()
                return
            except Unavailable as error:
                last_message = error.message
                time.sleep(0.2)
    raise Unavailable(f"the service did not start: {last_message}")


def demonstrate(client: Client, document: object, folder: Path) -> int:
    """Submit the job, follow it, and print and write its result. Returns the exit status."""
    job = client.submit(document)
    print(f"POST {client.url}/v1/jobs with {JOB.name}: {job.id}\n", flush=True)
    ended = follow(progress_updates(client, job.id), console())
    if ended.state is not JobState.SUCCEEDED:
        raise Unavailable(f"the job is {ended.state}: {ended.reason or 'cancelled by a user'}")
    result = client.document(job.id)
    report, target_width = telescoping.parse_report(result), telescoping.target_width(job.study)
    telescoping.show(report, target_width, console())
    as_json, as_picture = folder / "result.json", folder / "result.png"
    as_json.write_text(json.dumps(result, indent=2) + "\n")
    pictures.plot_report(report, client.trials(job.id), target_width, as_picture, job.name)
    print(f"Written: {as_json}, {as_picture}\n{NEXT}")
    return 0 if report.verdict == "resolved" else 1


if __name__ == "__main__":
    sys.exit(main())
