"""A real Kafka broker, one node in KRaft mode, from the jars of Maven Central.

`python -m tests.servers.kafka` fetches the jars into .tools/kafka (once; needs java 17 or newer and mvn).
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.require import lacking

ROOT = Path(__file__).resolve().parents[2]
JARS = ROOT / ".tools" / "kafka"
POM = Path(__file__).with_name("kafka") / "pom.xml"
USER, PASSWORD = "fess", "correct-horse"
_START_S = 60.0

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="{user}" password="{password}" user_{user}="{password}";
log.dirs={data}
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
log.retention.bytes=268435456
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=2
background.threads=2
"""


@dataclass(slots=True)
class KafkaServer:
    """One broker. `address` takes anyone; `login_address` wants SASL PLAIN with USER and PASSWORD."""

    folder: Path
    plain: int = 0
    login: int = 0
    controller: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.plain}"

    @property
    def login_address(self) -> str:
        return f"127.0.0.1:{self.login}"

    def format(self) -> None:
        self.plain, self.login, self.controller = _free_ports(3)
        properties = _PROPERTIES.format(
            plain=self.plain,
            login=self.login,
            controller=self.controller,
            user=USER,
            password=PASSWORD,
            data=self.folder / "data",
        )
        (self.folder / "server.properties").write_text(properties)
        arguments = ["format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "server.properties"]
        formatted = subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments),
            cwd=self.folder,
            capture_output=True,
            check=False,
            timeout=_START_S,
        )
        if formatted.returncode != 0:
            pytest.fail(f"kafka storage was not formatted: {formatted.stderr.decode()[-2000:]}")

    def start(self) -> None:
        """Start on the same ports and data as before; returns once it answers."""
        with (self.folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", "server.properties"),
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_S
        while not (_listens(self.plain) and _listens(self.login)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"kafka did not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """It keeps its connections and answers nothing, until `resume`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self.folder / "broker.log").read_text(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _java(self, main: str, *arguments: str) -> list[str]:
        return [
            "java",
            "-Xms64m",
            "-Xmx512m",
            "-XX:TieredStopAtLevel=1",  # starts in half the time, and leaves the other core alone
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            f"{JARS}/*",
            main,
            *arguments,
        ]


def fetch() -> str:
    """Fetch the jars if they are not there; returns why not, or nothing."""
    if not shutil.which("java"):
        return "java (17 or newer) is not installed"
    if any(JARS.glob("kafka_2.13-*.jar")):
        return ""
    if not shutil.which("mvn"):
        return f"mvn is not installed, and {JARS} holds no jars"
    partial = JARS.with_name("kafka.partial")
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    fetched = subprocess.run(
        [*command, f"-DoutputDirectory={partial}"], capture_output=True, check=False, timeout=600
    )
    if fetched.returncode != 0:
        return f"mvn could not fetch the jars: {fetched.stdout.decode()[-500:]}"
    partial.rename(JARS)
    return ""


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker with auto-created topics of four partitions, shared by the tests of one worker."""
    if not any(JARS.glob("kafka_2.13-*.jar")) or not shutil.which("java"):
        lacking("kafka", "run `python -m tests.servers.kafka`, with java 17 and mvn installed")
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.format()
    server.start()
    yield server
    server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    sys.exit(fetch() or None)  # an empty reason would count as a failure
