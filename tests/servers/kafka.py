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
listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},TLS://127.0.0.1:{tls},CLOSED://127.0.0.1:{closed},\
CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},TLS://127.0.0.1:{tls},\
CLOSED://127.0.0.1:{closed}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SSL,CLOSED:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.name.login.sasl.enabled.mechanisms=PLAIN
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/client.crt
listener.name.tls.ssl.client.auth=required
listener.name.closed.ssl.client.auth=none
listener.name.closed.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.closed.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
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
    """One broker.

    address          takes anyone
    login_address    wants SASL PLAIN with USER and PASSWORD
    tls_address      encrypts, and wants the certificate client.crt with its key client.key
    closed_address   encrypts, and wants SCRAM-SHA-256 with USER and PASSWORD

    What it shows to be itself is signed by broker.crt, which nobody knows beforehand.
    """

    folder: Path
    plain: int = 0
    login: int = 0
    tls: int = 0
    closed: int = 0
    controller: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.plain}"

    @property
    def login_address(self) -> str:
        return f"127.0.0.1:{self.login}"

    @property
    def tls_address(self) -> str:
        return f"127.0.0.1:{self.tls}"

    @property
    def closed_address(self) -> str:
        return f"127.0.0.1:{self.closed}"

    @property
    def authority(self) -> Path:
        """The certificate that vouches for the broker."""
        return self.folder / "broker.crt"

    def format(self) -> None:
        self.plain, self.login, self.tls, self.closed, self.controller = _free_ports(5)
        for name in ("broker", "client"):
            _certify(self.folder, name)
        pair = [self.folder / f"broker.{part}" for part in ("key", "crt")]
        (self.folder / "broker.pem").write_text("".join(part.read_text() for part in pair))
        properties = _PROPERTIES.format(
            plain=self.plain,
            login=self.login,
            tls=self.tls,
            closed=self.closed,
            controller=self.controller,
            user=USER,
            password=PASSWORD,
            folder=self.folder,
            data=self.folder / "data",
        )
        (self.folder / "server.properties").write_text(properties)
        scram = f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"
        arguments = ["format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "server.properties"]
        arguments += ["--add-scram", scram]
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
        while not all(map(_listens, (self.plain, self.login, self.tls, self.closed))):
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
            "-Xms384m",
            "-Xmx512m",
            "-Xmn256m",  # with 17 MB, 10,000 events/s stop it for 8 ms four times a second
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
    if not shutil.which("openssl"):
        lacking("kafka", "openssl makes its certificates: apt install openssl")
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.format()
    server.start()
    yield server
    server.stop()


def _certify(folder: Path, name: str) -> None:
    """Write NAME.key and NAME.crt, a certificate that signs itself."""
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *files, *subject],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=_START_S,
    )


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
