"""docker-compose.yml follows compose's rules and fits the programs that it starts.

test_cluster.py runs its commands.
"""

import re
import shlex
from graphlib import TopologicalSorter
from typing import Any

import click
import pytest
import typer.main
from ray.scripts.scripts import cli as ray_cli
from typer.exceptions import TyperException

from api.cli.main import app
from api.settings import Settings
from tests.compose_file import ROOT, VARIABLE, document, filled_in, processes

SECRETS = {"POSTGRES_PASSWORD": "abc123", "RAY_AUTH_TOKEN": "def456"}
SERVICES: dict[str, dict[str, Any]] = filled_in(document(), SECRETS)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "telescope"}
ON_RAY = {name for name, service in OURS.items() if "ray" in " ".join(service["command"])}
LONG_RUNNING = {name for name, service in SERVICES.items() if service["restart"] != "no"}
HOME = "/var/lib/telescope"

TOP_LEVEL = {"name", "services", "volumes"}
SERVICE_KEYS = {
    "image", "build", "pull_policy", "init", "restart", "command", "environment", "ports",
    "volumes", "depends_on", "healthcheck", "shm_size", "profiles", "deploy",
}  # fmt: skip
HEALTHCHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period", "start_interval"}
DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")


def parsed(arguments: list[str]) -> None:
    """Raise click's UsageError unless the program's parser accepts the arguments."""
    program, subcommand, *rest = arguments
    group = {"telescope": typer.main.get_command(app), "ray": ray_cli}[program]
    command = group.commands[subcommand]
    command.make_context(subcommand, rest)


def test_the_file_uses_only_keys_that_compose_knows() -> None:
    assert {key for key in document() if not key.startswith("x-")} == TOP_LEVEL
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTHCHECK_KEYS, name
        assert all(isinstance(value, str) for value in service["environment"].values()), (
            f"{name}: quote its numbers and booleans"
        )


def test_no_secret_has_a_default() -> None:
    text = "\n".join(
        line
        for line in (ROOT / "docker-compose.yml").read_text().splitlines()
        if not line.lstrip().startswith("#")
    )
    assert {found["name"] for found in VARIABLE.finditer(text)} == set(SECRETS)
    assert text.count("$") == len(list(VARIABLE.finditer(text)))
    for missing in SECRETS:
        with pytest.raises(LookupError, match=f"{missing}: choose a"):
            filled_in(document(), SECRETS | {missing: ""})


def test_every_dependency_can_be_waited_for_and_none_is_circular() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            assert condition in {"service_healthy", "service_completed_successfully"}, (name, other)
            assert (other in LONG_RUNNING) == (condition == "service_healthy"), (name, other)
            assert condition != "service_healthy" or "healthcheck" in SERVICES[other], (name, other)
    order = list(
        TopologicalSorter(
            {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
        ).static_order()
    )
    assert (
        order.index("postgres")
        < order.index("migrate")
        < min(order.index("api"), order.index("coordinator"))
    )


def test_everything_that_keeps_running_is_started_again_and_checked() -> None:
    assert set(SERVICES) - LONG_RUNNING == {"migrate"}
    for name in LONG_RUNNING:
        assert SERVICES[name]["restart"] == "unless-stopped", name
        check = SERVICES[name]["healthcheck"]
        assert check["test"][0] == "CMD", name
        assert all(
            DURATION.fullmatch(check[key]) for key in check if key not in {"test", "retries"}
        ), name


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_program_accepts_its_arguments(name: str) -> None:
    for arguments in processes(OURS[name]["command"]):
        parsed(arguments)


@pytest.mark.parametrize(
    "arguments",
    ["telescope coordinate", "ray start --adress=ray-head:6379", "telescope api --prot 1"],
)
def test_the_check_of_arguments_notices_a_slip(arguments: str) -> None:
    with pytest.raises((KeyError, click.UsageError, TyperException)):
        parsed(shlex.split(arguments))


def test_the_probes_run() -> None:
    probes = {name: SERVICES[name]["healthcheck"]["test"][1:] for name in LONG_RUNNING}
    assert {probe[0] for probe in probes.values()} == {"pg_isready", "python", "ray"}
    for name in ON_RAY:
        parsed(probes[name])
    compile(probes["api"][2], "probe", "exec")
    assert f":{SERVICES['api']['environment']['TELESCOPE_PORT']}/livez" in probes["api"][2]


def test_every_process_of_the_ray_cluster_has_the_token() -> None:
    assert {"coordinator", "ray-head", "ray-worker", "ray-worker-gpu"} == ON_RAY
    for name in ON_RAY:
        environment = SERVICES[name]["environment"]
        assert (environment["RAY_AUTH_MODE"], environment["RAY_AUTH_TOKEN"]) == (
            "token",
            SECRETS["RAY_AUTH_TOKEN"],
        ), name
    assert not any(
        "RAY_AUTH_TOKEN" in SERVICES[name]["environment"] for name in set(SERVICES) - ON_RAY
    )


def test_no_trial_lands_on_the_head_or_beside_the_coordinator() -> None:
    for name in ("ray-head", "coordinator"):
        start = processes(OURS[name]["command"])[0]
        assert {"--num-cpus=0", "--num-gpus=0"} <= set(start), name


def test_only_those_who_need_the_database_know_its_password() -> None:
    knows = {
        name
        for name, service in SERVICES.items()
        if SECRETS["POSTGRES_PASSWORD"] in str(service["environment"])
    }
    assert knows == {"postgres", "migrate", "api", "coordinator"}


def test_settings_know_every_variable_that_is_set() -> None:
    known = {f"TELESCOPE_{name.upper()}" for name in Settings.model_fields} | {"TELESCOPE_HOME"}
    for name, service in OURS.items():
        assert {key for key in service["environment"] if key.startswith("TELESCOPE_")} <= known, (
            name
        )


def test_one_volume_is_the_home_of_all_who_read_or_write_it() -> None:
    homes = {
        name
        for name, service in SERVICES.items()
        if f"telescope:{HOME}" in service.get("volumes", ())
    }
    assert homes == {"api", "coordinator", "ray-worker", "ray-worker-gpu"}
    assert all(SERVICES[name]["environment"]["TELESCOPE_HOME"] == HOME for name in homes)
    mounted = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
    }
    assert mounted == set(document()["volumes"])


def test_http_is_published_to_this_machine_only() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    port = SERVICES["api"]["environment"]["TELESCOPE_PORT"]
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_gpu_worker_waits_for_its_profile_and_asks_for_gpus() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {
        "ray-worker-gpu"
    }
    (device,) = SERVICES["ray-worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_image_holds_what_the_services_need() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (.*)", lines, re.MULTILINE)
        for word in line.split()[:-1]
    }
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == allowed
    assert copied >= {
        "telescope",
        "workers",
        "api",
        "migrations",
        "pyproject.toml",
        "constraints.txt",
    }
    assert all((ROOT / name).exists() for name in copied)
    assert f"TELESCOPE_HOME={HOME}" in lines
    assert "\nUSER telescope\n" in lines
    parsed(
        [
            "telescope",
            *re.search(r'^CMD \["telescope", (.*)\]', lines, re.MULTILINE)[1]
            .replace('"', "")
            .split(", "),
        ]
    )  # type: ignore[index]
