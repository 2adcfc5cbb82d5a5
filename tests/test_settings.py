"""Settings: six layers, of which the first that has a value wins; every mistake is told at once, with its mend."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from orchestrator.configuring.setting_types import is_loopback
from orchestrator.configuring.variables import variables_of
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, load

PASSWORD = "hunter2-is-secret"

PROMISED = """
    REDIS_HOST REDIS_PORT REDIS_DB REDIS_PASSWORD REDIS_MAX_CONNECTIONS REDIS_SOCKET_TIMEOUT
    DETECTOR_MODEL DETECTOR_DEVICE DETECTOR_SCORE_THRESHOLD DETECTOR_NMS_THRESHOLD
    CACHE_FACE_TTL CACHE_DETECTION_TTL CACHE_MAX_FACES KAFKA_BOOTSTRAP_SERVERS KAFKA_TOPIC_MOTION
    KAFKA_TOPIC_FACES KAFKA_TOPIC_ALERTS KAFKA_ACKS KAFKA_COMPRESSION KAFKA_LINGER_MS
    KAFKA_BATCH_SIZE KAFKA_MAX_REQUEST_SIZE KAFKA_SECURITY_PROTOCOL KAFKA_SASL_MECHANISM
    KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD LOG_LEVEL ENVIRONMENT FESS_MODELS_MIRROR
"""


class Machine:
    """A working directory with `.env`, `fess.yaml` and secrets, and an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: dict[str, str] = {"FESS_SECRETS_DIR": str(folder / "secrets")}
        (folder / "secrets").mkdir()

    def write(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def load(self, config: Path | None = None, **overrides: object) -> Settings:
        with patch.dict(os.environ, self.environ, clear=True):
            return load(config, **overrides)

    def complaint(self) -> str:
        with pytest.raises(SettingsError) as refused:
            self.load()
        return str(refused.value)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path)


def test_without_any_layer_the_defaults_hold(machine: Machine) -> None:
    assert machine.load() == Settings()


def test_settings_that_are_not_loaded_read_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write(".env", "REDIS_PORT=1")
    machine.write("fess.yaml", "redis: {port: 2}")
    monkeypatch.setenv("REDIS_PORT", "3")
    monkeypatch.setenv("FESS_MODELS_MIRROR", "elsewhere")
    assert (Settings().redis.port, Settings().models_mirror) == (6379, None)


def test_the_contract_with_users_is_kept() -> None:
    names = {variable.name for variable in variables_of(Settings)}
    assert not set(PROMISED.split()) - names


def test_no_two_settings_share_a_variable() -> None:
    names = [variable.name for variable in variables_of(Settings)]
    assert len(names) == len(set(names))


def test_each_layer_gives_way_to_the_one_above_it(machine: Machine) -> None:
    seen = [machine.load().redis.port]
    machine.write("fess.yaml", "redis: {port: 1}")
    seen.append(machine.load().redis.port)
    machine.write("secrets/REDIS_PORT", "2\n")
    seen.append(machine.load().redis.port)
    machine.write(".env", "REDIS_PORT=3")
    seen.append(machine.load().redis.port)
    machine.environ["REDIS_PORT"] = "4"
    seen.append(machine.load().redis.port)
    seen.append(machine.load(redis_port=5).redis.port)
    assert seen == [6379, 1, 2, 3, 4, 5]


def test_layers_of_one_section_are_merged_setting_by_setting(machine: Machine) -> None:
    machine.write("fess.yaml", "redis:\n  host: cache.lan\n  db: 3\n")
    machine.environ["REDIS_DB"] = "7"
    assert (machine.load().redis.host, machine.load().redis.db) == ("cache.lan", 7)


def test_the_running_process_is_read_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=9000\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    for name in set(os.environ) & {"HTTP_PORT", "FESS_CONFIG", "FESS_SECRETS_DIR"}:
        monkeypatch.delenv(name)
    loaded = load(detector_model="cars")
    assert (loaded.http.port, loaded.log_level, loaded.detector.model) == (9000, "DEBUG", "cars")


def test_an_option_that_was_not_given_on_the_command_line_changes_nothing(machine: Machine) -> None:
    machine.environ["HTTP_PORT"] = "9000"
    assert machine.load(http_port=None).http.port == 9000


def test_an_override_that_is_no_setting_is_a_bug(machine: Machine) -> None:
    with pytest.raises(TypeError, match="http_prot"):
        machine.load(http_prot=1)


def test_an_empty_variable_counts_as_absent(machine: Machine) -> None:
    machine.environ["HTTP_PORT"] = ""
    machine.write(".env", "HTTP_PORT=9000\nREDIS_DB=\n")
    assert (machine.load().http.port, machine.load().redis.db) == (9000, 0)


@pytest.mark.parametrize("text", ["person,car", "person, car,", '["person", "car"]'])
def test_a_list_is_written_with_commas_or_as_json(machine: Machine, text: str) -> None:
    machine.environ["DETECTOR_CLASSES"] = text
    assert machine.load().detector.classes == ("person", "car")


def test_a_list_in_yaml_is_a_list_or_text_with_commas(machine: Machine) -> None:
    machine.write("fess.yaml", "detector: {classes: [person, car]}\nalerts: {cameras: 'door,yard'}")
    loaded = machine.load()
    assert loaded.detector.classes == ("person", "car")
    assert loaded.alerts.cameras == ("door", "yard")


def test_yaml_may_write_a_digit_where_a_word_is_also_allowed(machine: Machine) -> None:
    machine.write("fess.yaml", "kafka: {acks: 1, compression: none}")
    assert (machine.load().kafka.acks, machine.load().kafka.compression) == ("1", "none")


def test_strangers_in_the_environment_do_not_break_the_start(machine: Machine) -> None:
    machine.environ |= {
        "HTTP_PROXY": "http://proxy.lan:3128",
        "REDIS_PORT": "tcp://10.0.0.1:6379",
        "REDIS_PORT_6379_TCP_ADDR": "10.0.0.1",
        "REDIS_SERVICE_HOST": "10.0.0.1",
        "KAFKA_HOME": "/opt/kafka",
        "REDIS": "yes",
    }
    assert machine.load() == Settings()


def test_a_service_link_does_not_hide_a_port_from_a_lower_layer(machine: Machine) -> None:
    machine.environ["REDIS_PORT"] = "tcp://10.0.0.1:6379"
    machine.write("fess.yaml", "redis: {port: 7000}")
    assert machine.load().redis.port == 7000


def test_a_secret_file_may_be_named_in_small_letters_as_docker_does(machine: Machine) -> None:
    machine.write("secrets/redis_password", f"{PASSWORD}\n")
    assert machine.load().redis.password == SecretStr(PASSWORD)


def test_other_files_in_the_secrets_folder_are_left_alone(machine: Machine) -> None:
    (machine.folder / "secrets" / "tls.key").write_bytes(b"\x30\x82\xff")
    (machine.folder / "secrets" / "..data").mkdir()
    assert machine.load() == Settings()


def test_a_secrets_folder_that_was_named_and_is_missing_is_told(machine: Machine) -> None:
    machine.environ["FESS_SECRETS_DIR"] = str(machine.folder / "nowhere")
    assert "FESS_SECRETS_DIR" in machine.complaint()
    assert "No such file" in machine.complaint()


def test_the_configuration_file_is_named_by_argument_or_variable(machine: Machine) -> None:
    named = machine.write("site.yaml", "redis: {db: 1}")
    other = machine.write("other.yaml", "redis: {db: 2}")
    machine.environ["FESS_CONFIG"] = str(other)
    assert machine.load(named).redis.db == 1
    assert machine.load().redis.db == 2


def test_a_configuration_file_that_was_named_must_exist(machine: Machine) -> None:
    with pytest.raises(SettingsError, match=r"site\.yaml: No such file"):
        machine.load(machine.folder / "site.yaml")


def test_every_mistake_is_told_at_once_with_place_and_mend(machine: Machine) -> None:
    machine.environ |= {"REDIS_PORT": "many", "DETECTOR_SCORE_THRESHOLD": "1.5"}
    machine.write(".env", "# mine\n\nKAFKA_ACKS=most\nREDIS_HOSTT=cache\nnot a statement\n")
    machine.write("fess.yaml", "log_level: LOUD\ncapture:\n  read_timout: 3\nmotion: fast\n")
    complaint = machine.complaint()
    for expected in [
        "8 things need mending",
        'REDIS_PORT in the environment: "many" is not a whole number from 0 to 65535; '
        "mend it, or leave it out for 6379",
        'DETECTOR_SCORE_THRESHOLD in the environment: "1.5" is not a number from 0 to 1',
        'KAFKA_ACKS in .env, line 3: "most" is not all, 1 or 0',
        ".env, line 4: REDIS_HOSTT is not a setting; did you mean REDIS_HOST?",
        ".env, line 5: it is not NAME=value",
        'log_level in fess.yaml, line 1: "LOUD" is not DEBUG, INFO, WARNING or ERROR',
        "fess.yaml, line 3: capture.read_timout is not a setting; did you mean read_timeout?",
        "fess.yaml, line 4: motion is a group of settings; write its settings below it",
    ]:
        assert expected in complaint


def test_only_the_value_that_would_be_used_is_judged(machine: Machine) -> None:
    machine.write("fess.yaml", "redis: {port: many}")
    machine.environ["REDIS_PORT"] = "7000"
    assert machine.load().redis.port == 7000


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "soon"])
def test_a_duration_is_a_number_of_seconds_above_zero(machine: Machine, value: str) -> None:
    machine.environ["TRITON_TIMEOUT"] = value
    assert "is not a number above 0" in machine.complaint()


def test_a_mirror_has_a_variable_that_begins_with_the_name_of_the_product(machine: Machine) -> None:
    machine.write("fess.yaml", "models_mirror: models\nvideos_mirror: clips\n")
    machine.write(".env", "FESS_MODELS_MIRROR=/srv/models\nMODELS_MIRROR=/not/ours\n")
    loaded = machine.load()
    assert (loaded.models_mirror, loaded.videos_mirror) == (Path("/srv/models"), Path("clips"))


def test_nothing_is_substituted_in_a_value_of_dotenv(machine: Machine) -> None:
    machine.write(".env", "HTTP_TOKEN=a${HOME}b$c")
    assert machine.load().http.token == SecretStr("a${HOME}b$c")


def test_several_spans_of_hours_are_separated_by_commas(machine: Machine) -> None:
    machine.environ["ALERTS_HOURS"] = "08:00-12:00, 13:00-17:00"
    assert machine.load().alerts.hours == "08:00-12:00, 13:00-17:00"


@pytest.mark.parametrize("hours", ["22-6", "25:00-06:00", "always", "22:00-24:30", "08:00-08:00"])
def test_hours_that_are_no_hours_are_refused_with_an_example(machine: Machine, hours: str) -> None:
    machine.environ["ALERTS_HOURS"] = hours
    assert "is not text like 22:00-06:00" in machine.complaint()


@pytest.mark.parametrize(
    "url", ["::", "triton", ":8001", "http://triton:8001", "triton:0", "triton:80010", "::1:8001"]
)
def test_an_address_of_triton_is_a_host_and_a_port(machine: Machine, url: str) -> None:
    machine.environ["TRITON_URL"] = url
    assert "is not text like triton:8001" in machine.complaint()


@pytest.mark.parametrize("name", ["bad topic!", "..", "x" * 250, "Tür"])
def test_a_topic_is_named_as_kafka_allows(machine: Machine, name: str) -> None:
    machine.environ["KAFKA_TOPIC_ALERTS"] = name
    assert "is not text like alert.events" in machine.complaint()


@pytest.mark.parametrize("brokers", ["a:b", "::", "http://k:9092", "k:9092,,", "k:0"])
def test_brokers_are_hosts_with_ports(machine: Machine, brokers: str) -> None:
    machine.environ["KAFKA_BOOTSTRAP_SERVERS"] = brokers
    assert "is not text like kafka-1:9092,kafka-2:9092" in machine.complaint()


@pytest.mark.parametrize("brokers", ["k1:9092, k2:9093", "[::1]:9092", "k1"])
def test_several_brokers_are_separated_by_commas(machine: Machine, brokers: str) -> None:
    machine.environ["KAFKA_BOOTSTRAP_SERVERS"] = brokers
    assert machine.load().kafka.bootstrap_servers == brokers


@pytest.mark.parametrize("url", ["10.0.0.7:8001", "[::1]:8001", "gpu-1.example.org:8001"])
def test_triton_may_be_named_by_address_of_either_kind_or_by_name(
    machine: Machine, url: str
) -> None:
    machine.environ["TRITON_URL"] = url
    assert machine.load().triton.url == url


def test_a_variable_used_as_a_yaml_key_is_translated(machine: Machine) -> None:
    machine.write("fess.yaml", "REDIS_PORT: 6379")
    assert "it is written redis.port" in machine.complaint()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"redis:\n  password: '{PASSWORD}\n", "it is not YAML"),
        (f"redis:\n  password: [{PASSWORD}]\n", "it is not text"),
        ("redis:\n  password: 123456\n", "it is not text; put it in quotes"),
        (f"redis:\n  pasword: {PASSWORD}\n", "did you mean password?"),
        (f"redis:\n  host: {{password: {PASSWORD}}}\n", "the value is not text"),
        (f"redsi: {{password: {PASSWORD}}}\n", "redsi is not a setting; did you mean redis?"),
        (f"redis:\n  port: redis://:{PASSWORD}@cache:6379\n", "the value is not a whole number"),
        (f"redis: redis://:{PASSWORD}@cache:6379\n", "redis is a group of settings"),
        (f"- {PASSWORD}\n", "its top is not a mapping"),
        (f"redis: {{db: 1}}\nredis: {{password: {PASSWORD}}}\n", "redis is given twice"),
        (f"? [{PASSWORD}]\n: 1\n", "a key is not a plain name"),
        (f"redis: &r\n  password: {PASSWORD}\n  host: *r\n", "an alias repeats too much"),
    ],
)
def test_a_complaint_about_yaml_never_holds_a_secret(
    machine: Machine, text: str, what: str
) -> None:
    machine.write("fess.yaml", text)
    assert what in machine.complaint()
    assert PASSWORD not in machine.complaint()
    assert "123456" not in machine.complaint()


def test_a_complaint_about_dotenv_never_holds_a_secret(machine: Machine) -> None:
    machine.write(
        ".env", f"REDIS_PASWORD={PASSWORD}\nREDIS PASSWORD {PASSWORD}\nFESS_PASSWORD={PASSWORD}"
    )
    assert "3 things" in machine.complaint()
    assert PASSWORD not in machine.complaint()


def test_a_secret_is_not_shown_when_the_settings_are_printed(machine: Machine) -> None:
    machine.environ |= {"REDIS_PASSWORD": PASSWORD, "HTTP_TOKEN": PASSWORD}
    assert PASSWORD not in repr(machine.load())
    assert PASSWORD not in machine.load().model_dump_json()


def test_a_file_that_is_not_text_is_refused_by_name(machine: Machine) -> None:
    (machine.folder / "fess.yaml").write_bytes(b"\xff\xfe")
    assert "it is not UTF-8 text" in machine.complaint()


def test_listening_beyond_this_machine_needs_a_token(machine: Machine) -> None:
    machine.environ["HTTP_HOST"] = "0.0.0.0"
    assert "HTTP_HOST in the environment: the page would be open to everyone" in machine.complaint()
    machine.environ["HTTP_TOKEN"] = "short"
    assert "HTTP_TOKEN in the environment: it is too short" in machine.complaint()
    machine.environ["HTTP_TOKEN"] = PASSWORD
    assert machine.load().http.host == "0.0.0.0"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)


def test_settings_that_contradict_each_other_are_told_beside_other_mistakes(
    machine: Machine,
) -> None:
    machine.environ |= {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "CAPTURE_BACKOFF_CAP": "0.1",
        "REDIS_PORT": "many",
    }
    complaint = machine.complaint()
    assert "3 things need mending" in complaint
    assert "KAFKA_SECURITY_PROTOCOL in the environment: SASL_SSL needs a user" in complaint
    assert "CAPTURE_BACKOFF_BASE, by default: it is above the cap of 0.1 s" in complaint
