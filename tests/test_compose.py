"""docker-compose.yml follows compose's rules and matches the programs that it starts.

test_cluster.py runs its commands.
"""

import json
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
from tests.compose_file import ROOT, VARIABLE, document, interpolated, processes

SECRETS = {"POSTGRES_PASSWORD": "abc123", "RAY_AUTH_TOKEN": "def456"}
SERVICES: dict[str, dict[str, Any]] = interpolated(document(), SECRETS)["services"]
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


def check_arguments(arguments: list[str]) -> None:
    """Raise click's UsageError unless the program's parser accepts the arguments."""
    program, subcommand, *options = arguments
    group = {"telescope": typer.main.get_command(app), "ray": ray_cli}[program]
    command = group.commands[subcommand]
    command.make_context(subcommand, options)


def test_the_file_uses_only_keys_that_compose_knows() -> None:
    assert {key for key in document() if not key.startswith("x-")} == TOP_LEVEL
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTHCHECK_KEYS, name
        assert all(isinstance(value, str) for value in service["environment"].values()), (
            f"{name}: quote its numbers and booleans"
        )


def test_no_secret_has_a_default() -> None:
    lines = (ROOT / "docker-compose.yml").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    assert {match["name"] for match in VARIABLE.finditer(text)} == set(SECRETS)
    assert text.count("$") == len(list(VARIABLE.finditer(text)))
    for missing in SECRETS:
        with pytest.raises(LookupError, match=f"{missing}: choose a"):
            interpolated(document(), SECRETS | {missing: ""})


def test_every_dependency_can_be_waited_for_and_none_is_circular() -> None:
    for name, service in SERVICES.items():
        for dependency, options in service.get("depends_on", {}).items():
            condition = options["condition"]
            place = f"{name} depends on {dependency}"
            assert condition in {"service_healthy", "service_completed_successfully"}, place
            assert (dependency in LONG_RUNNING) == (condition == "service_healthy"), place
            if condition == "service_healthy":
                assert "healthcheck" in SERVICES[dependency], place
    graph = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    order = list(TopologicalSorter(graph).static_order())
    postgres, migrate, api, coordinator = map(
        order.index, ("postgres", "migrate", "api", "coordinator")
    )
    assert postgres < migrate < min(api, coordinator)


def test_every_long_running_service_is_restarted_and_has_a_health_check() -> None:
    assert set(SERVICES) - LONG_RUNNING == {"migrate"}
    for name in LONG_RUNNING:
        assert SERVICES[name]["restart"] == "unless-stopped", name
        check = SERVICES[name]["healthcheck"]
        assert check["test"][0] == "CMD", name
        for key in check.keys() - {"test", "retries"}:
            assert DURATION.fullmatch(check[key]), (name, key)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_program_accepts_its_arguments(name: str) -> None:
    for arguments in processes(OURS[name]["command"]):
        check_arguments(arguments)


@pytest.mark.parametrize(
    "arguments",
    ["telescope coordinate", "ray start --adress=ray-head:6379", "telescope api --prot 1"],
)
def test_the_check_of_arguments_detects_misspelt_words(arguments: str) -> None:
    with pytest.raises((KeyError, click.UsageError, TyperException)):
        check_arguments(shlex.split(arguments))


def test_the_programs_of_health_checks_accept_their_arguments() -> None:
    probes = {name: SERVICES[name]["healthcheck"]["test"][1:] for name in LONG_RUNNING}
    assert {probe[0] for probe in probes.values()} == {"pg_isready", "python", "ray"}
    for name in ON_RAY:
        check_arguments(probes[name])
    compile(probes["api"][2], "probe", "exec")
    assert f":{SERVICES['api']['environment']['TELESCOPE_PORT']}/livez" in probes["api"][2]


def test_every_process_of_the_ray_cluster_has_the_token() -> None:
    assert {"coordinator", "ray-head", "ray-worker", "ray-worker-gpu"} == ON_RAY
    for name in ON_RAY:
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token", name
        assert environment["RAY_AUTH_TOKEN"] == SECRETS["RAY_AUTH_TOKEN"], name
    for name in set(SERVICES) - ON_RAY:
        assert "RAY_AUTH_TOKEN" not in SERVICES[name]["environment"], name


def test_no_trial_runs_on_the_head_or_beside_the_coordinator() -> None:
    for name in ("ray-head", "coordinator"):
        start = processes(OURS[name]["command"])[0]
        assert {"--num-cpus=0", "--num-gpus=0"} <= set(start), name


def test_only_services_that_need_the_database_have_its_password() -> None:
    password = SECRETS["POSTGRES_PASSWORD"]
    with_password = {
        name for name, service in SERVICES.items() if password in str(service["environment"])
    }
    assert with_password == {"postgres", "migrate", "api", "coordinator"}


def test_settings_know_every_variable_that_is_set() -> None:
    variables = {f"TELESCOPE_{name.upper()}" for name in Settings.model_fields} | {"TELESCOPE_HOME"}
    for name, service in OURS.items():
        assert {
            key for key in service["environment"] if key.startswith("TELESCOPE_")
        } <= variables, name


def test_all_services_that_use_telescope_home_mount_the_same_volume() -> None:
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


def test_the_gpu_worker_has_a_profile_and_reserves_all_gpus() -> None:
    with_profile = {name for name, service in SERVICES.items() if "profiles" in service}
    assert with_profile == {"ray-worker-gpu"}
    (device,) = SERVICES["ray-worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_image_contains_the_files_that_the_services_need() -> None:
    text = (ROOT / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (.*)", text, re.MULTILINE)
    copied = {word for line in lines for word in line.split()[:-1]}
    ignore_rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {rule[1:] for rule in ignore_rules if rule.startswith("!")}
    packages = {"telescope", "workers", "api", "migrations"}
    assert copied >= packages | {"pyproject.toml", "constraints.txt"}
    assert all((ROOT / name).exists() for name in copied)
    assert f"TELESCOPE_HOME={HOME}" in text
    assert "\nUSER telescope\n" in text
    (command,) = re.findall(r"^CMD (.*)", text, re.MULTILINE)
    check_arguments(json.loads(command))
