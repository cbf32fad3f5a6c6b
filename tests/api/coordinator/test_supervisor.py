"""The processes of a service start, restart and end together."""

import signal
import socket
import subprocess
import sys
import time

import psutil

from tests.api.serving import environment, eventually, serving
from workers.processes import MARKER


def alive(processes):
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_a_killed_coordinator_is_replaced_without_orphans_and_sigterm_ends_all_processes(tmp_path):
    with serving(tmp_path) as service:
        first, api = service.child("coordinator"), service.child("api")
        marker = first.environ()[MARKER]

        def successor():
            process = service.child("coordinator")
            return process if process and process.pid != first.pid else None

        # an orphan in a session of its own, as Ray's agents are
        with subprocess.Popen(
            ["sleep", "600"], env={MARKER: marker}, start_new_session=True
        ) as orphan:
            first.kill()
            second = eventually(successor, 30)
            orphan_status = orphan.poll()
            orphan.kill()
        assert orphan_status == -signal.SIGKILL, "it must end before the coordinator restarts"
        assert second.environ()[MARKER] != marker
        assert service.child("api") == api, "the api must not restart"
        eventually(service.is_ready, 60)
        everything = service.tree()
        assert len(everything) >= 3
        service.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert service.process.wait(10) == 0
        assert alive(everything) == []
        assert time.monotonic() - began < 10


def test_children_end_when_the_supervisor_is_killed(tmp_path):
    with serving(tmp_path) as service:
        children = service.tree()[1:]
        service.process.kill()
        eventually(lambda: not alive(children), 12, lambda: alive(children))


def test_a_port_in_use_is_refused_with_a_remedy(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
        ended = subprocess.run(
            command, env=environment(tmp_path), capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 3
    assert f"port {port}: Address already in use; choose another --port or --host" in ended.stderr
    assert "Traceback" not in ended.stderr
