"""TLS at the edge: who gets in, what is spoken, certificates that change under open connections, and all that makes
TLS different from plain sockets: records, partial writes, handshakes that never end."""

import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.bus import Client, new_id
from harness.fleet import free_base
from harness.gateway import Gateway, run_to_end, target, write_config
from harness.http import Closed, Connection, build_request, sse_events
from harness.process import FLAT_MEMORY, START_SECONDS, memory_bound
from harness.upstream import DONE, answer_normally, chunk_event, completion

GOOD = {"model": "test-model", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**GOOD, "stream": True}
MiB = 1 << 20


# ---- certificates ----


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Signs certificates; what it makes lies in its folder."""

    def __init__(self, directory, name="ca"):
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.name = name
        self.cert = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.cert, "-days", 30, "-subj", f"/CN={name}")

    def sign(self, name, days=90):
        cert, key, request = (self.directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.directory / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-out", cert,
                "-days", days, "-extfile", extensions)
        key.chmod(0o600)
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


# ---- the two ends ----


def trusting(authority, client=None):
    context = ssl.create_default_context(cafile=str(authority.cert))
    if client is not None:
        context.load_cert_chain(*map(str, client))
    return context


class Secure(Connection):
    """A connection with TLS, whose end has to be said, not just to happen."""

    def __init__(self, port, context, **options):
        super().__init__(port, **options)
        plain = self.socket
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        except OSError:
            plain.close()
            raise


class SecureGateway(Gateway):
    def __init__(self, directory, targets, authority, files, tls=None, config=None, **options):
        self.authority = authority
        self.cert, self.key = (directory / f"{part}.pem" for part in ("cert", "key"))
        self.install(files)
        section = {"cert": str(self.cert), "key": str(self.key), **(tls or {})}
        super().__init__(directory, targets, config={"tls": section, **(config or {})}, **options)

    def install(self, files):
        """As an ACME client does: written aside, then put in place."""
        for source, place in zip(files, (self.cert, self.key)):
            aside = place.with_suffix(".new")
            aside.write_bytes(source.read_bytes())
            aside.chmod(0o600)
            aside.rename(place)

    def wait_ready(self, context=None):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.connect(context) as connection:
                    if connection.request("GET", "/readyz").status == 200:
                        return self
            except OSError:
                pass
            assert time.monotonic() < deadline and self.child.poll() is None, self.log()
            time.sleep(0.02)

    def connect(self, context=None, **options):
        return Secure(self.port, context or trusting(self.authority), **options)


@pytest.fixture(scope="module")
def module_secure(tmp_path_factory, authority, module_upstream):
    gateway = SecureGateway(tmp_path_factory.mktemp("secure"), [target(module_upstream.url)], authority,
                            authority.sign("module"))
    try:
        yield gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.fixture
def secure(module_secure, upstream):
    yield module_secure
    assert module_secure.child.poll() is None, module_secure.log()


@pytest.fixture
def start_secure(tmp_path, authority):
    started = []

    def start(targets, files=None, wait=True, **options):
        files = files or authority.sign("server")
        started.append(SecureGateway(tmp_path, targets, authority, files, **options))
        return started[-1].wait_ready() if wait else started[-1]

    yield start
    try:
        for process in started:
            process.stop()
    finally:
        for process in started:
            process.kill()


def serial_of(connection):
    return connection.socket.getpeercert()["serialNumber"]


# ---- what is spoken ----


def test_answers_streams_and_the_connection_is_kept(secure):
    with secure.connect() as connection:
        for _ in range(3):
            answer = connection.chat(GOOD)
            assert answer.status == 200 and answer.json()["choices"][0]["message"]["content"] == "hello"
            assert answer.header("strict-transport-security") == "max-age=31536000"
            events = sse_events(connection.chat(STREAM).body)
            assert events[-1] == b"[DONE]" and len(events) == 4


def test_its_url_is_told(secure):
    assert f"https://127.0.0.1:{secure.port}" in secure.log()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(secure, version):
    context = trusting(secure.authority)
    context.minimum_version = context.maximum_version = version
    with secure.connect(context) as connection:
        assert connection.chat(GOOD).status == 200
        assert connection.socket.cipher()[0].startswith(("ECDHE-", "TLS_"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_versions_are_refused(secure):
    context = trusting(secure.authority)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError) as refused:
        secure.connect(context)
    assert "alert protocol version" in str(refused.value).lower().replace("_", " ")


def test_the_oldest_version_can_be_set(start_secure, upstream):
    gateway = start_secure([target(upstream.url)], tls={"min_version": "1.3"})
    context = trusting(gateway.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        gateway.connect(context)


def test_http_1_1_is_what_is_agreed_on(secure):
    context = trusting(secure.authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.connect(context) as connection:
        assert connection.socket.selected_alpn_protocol() == "http/1.1"
        assert connection.chat(GOOD).status == 200
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError):
        secure.connect(context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(secure, version):
    context = trusting(secure.authority)
    context.minimum_version = context.maximum_version = version
    with secure.connect(context) as connection:
        assert connection.chat(GOOD).status == 200
        session = connection.socket.session
    plain = socket.create_connection(("127.0.0.1", secure.port))
    with context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
        assert again.session_reused


# ---- who gets in ----


def test_clients_need_a_certificate_where_one_is_asked_for(start_secure, upstream, authority, tmp_path):
    stranger = Authority(tmp_path / "stranger", "stranger")
    known, unknown = authority.sign("client"), stranger.sign("client")
    gateway = start_secure([target(upstream.url)], tls={"client_ca": str(authority.cert)}, wait=False)
    gateway.wait_ready(trusting(authority, known))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for client in (None, unknown):
            context = trusting(authority, client)
            context.minimum_version = context.maximum_version = version
            # In 1.3 a client is done before the server has looked at its certificate.
            with pytest.raises((ssl.SSLError, ConnectionError, Closed)):
                with gateway.connect(context) as connection:
                    connection.chat(GOOD)
    context = trusting(authority, known)
    with gateway.connect(context) as connection:
        assert connection.chat(GOOD).status == 200


def test_plain_http_is_told_to_speak_tls(secure):
    with Connection(secure.port) as connection:
        answer = connection.request("GET", "/v1/models")
        assert (answer.status, answer.error["code"]) == (400, "tls_required")
        assert connection.at_end()


@pytest.mark.parametrize("garbage", [b"\0" * 64, b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"SSH-2.0-OpenSSH_9.2\r\n",
                                     b"\x80\x2e\x01\x00\x02", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_what_is_no_tls_is_closed(secure, garbage):
    with Connection(secure.port) as connection:
        try:
            connection.send(garbage)
            connection.socket.shutdown(socket.SHUT_WR)
            while connection.socket.recv(4096):
                pass
        except OSError:
            pass
    with secure.connect() as connection:
        assert connection.chat(GOOD).status == 200


def test_a_handshake_that_does_not_end_is_ended(start_secure, upstream):
    gateway = start_secure([target(upstream.url)], config={"client_timeouts": {"head": "300ms"}})
    with Connection(gateway.port) as silent, Connection(gateway.port) as slow:
        slow.send(b"\x16\x03\x01\x02\x00\x01")
        assert silent.at_end() and slow.at_end()
    with gateway.connect() as connection:
        time.sleep(0.6)  # a handshake that has ended may be idle for longer
        assert connection.chat(GOOD).status == 200


# ---- bytes ----


class ByteWise:
    """TLS over a socket that carries one byte at a time, in both directions."""

    def __init__(self, port, context):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(30)
        self.arriving, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.arriving, self.leaving, server_hostname="localhost")
        self.until_done(self.tls.do_handshake)

    def flush(self):
        for byte in self.leaving.read():
            self.socket.sendall(bytes([byte]))

    def until_done(self, call, *arguments):
        while True:
            try:
                result = call(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(1)
                assert data, "closed"
                self.arriving.write(data)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_come_one_at_a_time(secure, version):
    context = trusting(secure.authority)
    context.minimum_version = context.maximum_version = version
    wire = ByteWise(secure.port, context)
    request = build_request("POST", "/v1/chat/completions", json.dumps(GOOD).encode(), {"Connection": "close"})
    wire.until_done(wire.tls.write, request)
    answer = b""
    while not answer.endswith(b"}}"):
        answer += wire.until_done(wire.tls.read, 65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    wire.socket.close()


def test_a_handshake_that_the_client_takes_slowly(start_secure, upstream, authority):
    """A chain of certificates that is longer than what the kernel takes at once."""
    cert, key = authority.sign("long")
    chain = cert.with_name("chain.pem")
    chain.write_bytes(cert.read_bytes() + authority.cert.read_bytes() * 150)
    gateway = start_secure([target(upstream.url)], files=(chain, key))
    with Connection(gateway.port, receive_buffer=4096) as connection:
        arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(authority).wrap_bio(arriving, leaving, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        connection.send(leaving.read())
        time.sleep(0.3)  # nothing is read while the gateway writes
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                arriving.write(connection.socket.recv(2048))
        tls.write(build_request("POST", "/v1/chat/completions", json.dumps(GOOD).encode()))
        connection.send(leaving.read())
        answer = b""
        while not answer.endswith(b"}}"):
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                arriving.write(connection.socket.recv(2048))
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_every_byte_is_a_record_of_its_own(secure):
    with secure.connect() as connection:
        for byte in build_request("POST", "/v1/chat/completions", json.dumps(GOOD).encode()):
            connection.send(bytes([byte]))
        assert connection.read_answer().status == 200


def test_requests_that_share_a_record(secure):
    one = build_request("POST", "/v1/chat/completions", json.dumps(GOOD).encode())
    with secure.connect() as connection:
        connection.send(one * 5)
        assert [connection.read_answer().status for _ in range(5)] == [200] * 5


def test_large_bodies_in_both_directions(secure, upstream):
    text = "0123456789abcdef" * (9 * MiB // 16)

    def echo(request, exchange):
        exchange.json(completion(request.json()["messages"][0]["content"]))

    upstream.reset_to(echo)
    with secure.connect() as connection:
        for _ in range(2):
            answer = connection.chat({**GOOD, "messages": [{"role": "user", "content": text}]})
            assert answer.status == 200
            assert answer.json()["choices"][0]["message"]["content"] == text


def test_a_slow_reader_stops_the_provider(start_secure, upstream):
    """As without TLS: memory stays bounded, and every byte comes in order in the end."""
    sent = [0]
    total = 64 * MiB
    text = "x" * 20_000

    def flood(request, exchange):
        exchange.start_stream()
        while sent[0] < total:
            event = chunk_event(f"{sent[0]} {text}")
            exchange.chunk(event)
            sent[0] += len(event)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(flood)
    gateway = start_secure([target(upstream.url)], environment=FLAT_MEMORY)
    before = gateway.resident_bytes()
    with gateway.connect(receive_buffer=32768) as connection:
        answer = connection.start_chat(STREAM)
        moved = -1
        while sent[0] != moved:
            moved = sent[0]
            time.sleep(0.5)
        assert sent[0] < total, "the provider was never stopped"
        assert gateway.resident_bytes() - before < memory_bound(8 * MiB)
        body = b"".join(connection.pieces(answer))
    events = sse_events(body)
    assert events[-1] == b"[DONE]"
    expected = 0
    for event in events[:-1]:
        assert json.loads(event)["choices"][0]["delta"]["content"] == f"{expected} {text}"
        expected += len(event) + len(b"data: \n\n")
    assert expected == sent[0]


def test_a_client_that_sends_while_it_does_not_read(secure, upstream):
    """Many requests at once whose answers nobody takes for a while: neither side waits for the other for ever."""
    upstream.reset_to(lambda request, exchange: exchange.json(completion("y" * 200_000)))
    one = build_request("POST", "/v1/chat/completions", json.dumps(GOOD).encode())
    with secure.connect(receive_buffer=16384) as connection:
        sender = threading.Thread(target=connection.send, args=(one * 20,))
        sender.start()
        time.sleep(0.5)
        assert [len(connection.read_answer().json()["choices"][0]["message"]["content"]) for _ in range(20)] == [
            200_000] * 20
        sender.join()


def test_a_hundred_clients(secure):
    context = trusting(secure.authority)

    def one(_):
        with secure.connect(context) as connection:
            return [connection.chat(GOOD).status, sse_events(connection.chat(STREAM).body)[-1]]

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(one, range(100))) == [[200, b"[DONE]"]] * 100


def test_the_end_is_said(secure):
    """close_notify comes before the socket closes: a client knows that nothing was cut off."""
    with secure.connect() as connection:
        connection.send(build_request("GET", "/livez", headers={"Connection": "close"}))
        assert connection.read_answer().status == 200
        assert connection.at_end()


def test_a_client_that_leaves_cancels_its_request(secure, upstream):
    left = threading.Event()

    def endless(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("first"))
        if exchange.wait_for_close():
            left.set()
        exchange.cut()

    upstream.reset_to(endless)
    with secure.connect() as connection:
        answer = connection.start_chat(STREAM)
        assert next(connection.pieces(answer))
    assert left.wait(20)


def test_a_drain_ends_streams_well(start_secure, upstream):
    go_on = threading.Event()

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hel"))
        go_on.wait(20)
        exchange.chunk(chunk_event("lo"))
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    gateway = start_secure([target(upstream.url)])
    with gateway.connect() as connection, gateway.connect() as idle:
        answer = connection.start_chat(STREAM)
        gateway.signal()
        assert idle.at_end()
        go_on.set()
        assert sse_events(b"".join(connection.pieces(answer)))[-1] == b"[DONE]"
        assert connection.at_end()
    assert gateway.wait_exit() == 0


# ---- certificates over time ----


def test_a_new_certificate_is_used_without_dropping_a_connection(start_secure, upstream, authority):
    go_on = threading.Event()

    def stream(request, exchange):
        exchange.start_stream()
        exchange.chunk(chunk_event("hel"))
        go_on.wait(30)
        exchange.chunk(DONE)
        exchange.end_stream()

    upstream.reset_to(stream)
    gateway = start_secure([target(upstream.url)])
    with gateway.connect() as connection:
        answer = connection.start_chat(STREAM)
        before = serial_of(connection)
        gateway.install(authority.sign("renewed"))
        gateway.wait_until(lambda: gateway.log_lines(event="edge.tls.reload", level="info"), "reloaded")
        with gateway.connect() as other:
            assert serial_of(other) != before
            assert other.request("GET", "/livez").status == 200
        go_on.set()
        assert sse_events(b"".join(connection.pieces(answer)))[-1] == b"[DONE]"
        upstream.reset_to(answer_normally)
        assert connection.chat(GOOD).status == 200


def test_sighup_reads_the_files_at_once(start_secure, upstream, authority):
    gateway = start_secure([target(upstream.url)])
    with gateway.connect() as connection:
        before = serial_of(connection)
    gateway.install(authority.sign("renewed"))
    gateway.signal(signal.SIGHUP)
    gateway.wait_until(lambda: gateway.log_lines(event="gateway.reload", level="info"), "reloaded")
    with gateway.connect() as connection:
        assert serial_of(connection) != before
    gateway.key.write_text("nothing")
    gateway.signal(signal.SIGHUP)
    gateway.wait_until(lambda: gateway.log_lines(event="gateway.reload", level="error"), "refused")
    assert "key.pem: no private key" in gateway.log_lines(event="gateway.reload", level="error")[0]["reason"]
    with gateway.connect() as connection:
        assert connection.chat(GOOD).status == 200


def test_who_asks_over_the_bus_is_told_of_files_that_cannot_be_used(start_secure, upstream, authority):
    base = free_base()
    gateway = start_secure([target(upstream.url)], config={"bus": {"listen": f"tcp://127.0.0.1:{base}"}})
    administrator = Client(f"tcp://127.0.0.1:{base}")
    administrator.send("ready", role="admin")

    def ask():
        administrator.send("config", id=new_id())
        return administrator.until("ack")[0]

    assert ask()["reason"] == "unchanged"
    gateway.key.write_text("nothing")
    ack = ask()
    assert (ack["outcome"], ack["reason"]) == ("error", "partly")
    assert "key.pem: no private key" in ack["err_text"]
    assert "key.pem: no private key" in gateway.log_lines(event="gateway.reload.files")[0]["reason"]
    gateway.install(authority.sign("mended"))
    assert ask()["outcome"] == "ok"
    administrator.close()


def test_files_that_cannot_be_used_change_nothing(start_secure, upstream, authority):
    gateway = start_secure([target(upstream.url)])
    with gateway.connect() as connection:
        before = serial_of(connection)
    other_cert, _ = authority.sign("other")
    _, third_key = authority.sign("third")
    gateway.install((other_cert, third_key))
    gateway.wait_until(lambda: gateway.log_lines(event="edge.tls.reload", level="error"), "refused")
    assert "is not the key of" in gateway.log()
    with gateway.connect() as connection:
        assert serial_of(connection) == before
        assert connection.chat(GOOD).status == 200


def test_days_to_the_end_are_shown_and_warned_of(start_secure, upstream, authority):
    gateway = start_secure([target(upstream.url)], files=authority.sign("short", days=5))
    with gateway.connect() as connection:
        assert connection.request("GET", "/readyz").json()["tls"]["days_left"] in (4, 5)
        assert connection.request("GET", "/readyz").json()["status"] == "ready"
    (warning,) = gateway.log_lines(event="edge.tls.expires")
    assert warning["days"] in (4, 5) and warning["level"] == "warn"


def test_an_open_key_is_warned_of(start_secure, upstream, authority):
    gateway = start_secure([target(upstream.url)])
    assert not gateway.log_lines(event="edge.tls.key_open")
    gateway.key.chmod(0o644)
    gateway.cert.write_bytes(gateway.cert.read_bytes() + b"\n")
    gateway.wait_until(lambda: gateway.log_lines(event="edge.tls.key_open"), "warned")


@pytest.mark.parametrize("section, says", [
    ({"cert": "cert.pem"}, "needs both 'cert' and 'key'"),
    ({"client_ca": "ca.pem"}, "of no use without 'cert'"),
    ({"cert": "cert.pem", "key": "key.pem", "min_version": "1.1"}, "min_version"),
])
def test_a_configuration_that_makes_no_sense(tmp_path, section, says):
    path = write_config(tmp_path / "config.yaml", [], tls=section)
    code, log = run_to_end(["validate", path], tmp_path)
    assert code == 1 and says in log


def test_files_that_cannot_be_used_stop_the_start(tmp_path, authority):
    cert, key = authority.sign("start")
    _, other_key = authority.sign("start-other")
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for section, says in (
        ({"cert": str(tmp_path / "none.pem"), "key": str(key)}, "none.pem: no certificate in PEM"),
        ({"cert": str(empty), "key": str(key)}, "empty.pem: no certificate in PEM"),
        ({"cert": str(cert), "key": str(cert)}, "no private key in PEM"),
        ({"cert": str(cert), "key": str(locked)}, "locked.key: no private key in PEM without a password"),
        ({"cert": str(cert), "key": str(other_key)}, "is not the key of"),
        ({"cert": str(cert), "key": str(key), "client_ca": str(empty)}, "empty.pem: no certificate in PEM"),
    ):
        path = write_config(tmp_path / "config.yaml", [target("http://127.0.0.1:9")], tls=section)
        code, log = run_to_end(["serve", "--config", path, "--listen", "127.0.0.1:0"], tmp_path,
                               environment={"TEST_UPSTREAM_KEY": "sk-0123456789abcdef"})
        assert code == 1 and says in log, log
