"""The servers that a benchmark compares: the mock alone (the direct path), nginx as a bare reverse proxy, and the
gateway in the configurations that are measured. Each is started here and measured elsewhere."""

import argparse
import os
import shutil
import socket
import subprocess

from bench_machine import descriptor_limit
from bench_proc import Reader, Server, free_port
from bench_rows import ALL, KEY

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

NGINX_CONF = """
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_max_body_size 16m;
    client_body_buffer_size 2m;
    keepalive_requests 100000000;
    upstream mock {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} {listen} backlog=4096;
        {tls}
        location / {{
            proxy_pass {scheme}://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering {buffering};
        }}
    }}
}}
"""
NGINX_TLS_IN = "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
# As the gateway: the certificate is looked at, and sessions are taken up again.
NGINX_TLS_OUT = "proxy_ssl_trusted_certificate {cert}; proxy_ssl_verify on; proxy_ssl_name 127.0.0.1; proxy_ssl_session_reuse on;"
NGINX_CONNECTIONS = 8192

# The mock serves every model: the target declares none.
GATEWAY_CONF = """
strategy:
  mode: single
targets:
  - name: mock
    provider: openai
    base_url: {scheme}://127.0.0.1:{upstream}/v1
    api_key: ${{BENCH_UPSTREAM_KEY}}
"""

WORDS = ", ".join(f"forbidden{number}" for number in range(100))
GUARD = (
    "{{name: word-filter, type: guardrail, enabled: true, stages: [{stages}],"
    " config: {{blocked_words: [{words}], whole_words: true}}}}"
)
LOGGER = (
    "{{name: request-logger, type: logging, stage: after_request, enabled: true,"
    " config: {{persist: {persist}, level: debug}}}}"
)
PLUGINS = {
    "rate-limit": "{name: rate-limit, type: ratelimit, stage: before_request, enabled: true,"
    " config: {requests_per_second: 1000000, key_rpm: 100000000, model_tpm: 1000000000}}",
    "word-filter": GUARD.format(stages="before_request, after_request, during_stream", words=WORDS),
    "word-filter-streams": GUARD.format(stages="during_stream", words=WORDS),
    "word-filter-aside": GUARD.format(stages="before_request, after_request", words=WORDS),
    "max-token": "{name: max-token, type: guardrail, stage: before_request, enabled: true,"
    " config: {max_tokens: 100000, max_messages: 1000}}",
    "logger": LOGGER.format(persist="false"),
    "rows": LOGGER.format(persist="true"),
}

# One guardrail alone, and the same where no chunk comes by: that may cost a stream nothing.
GUARDS = {"dynabus-guard": ["word-filter-streams"], "dynabus-aside": ["word-filter-aside"]}

# What can be switched on alone: plugins, "store", "bus" (its socket is open), "reader" (somebody hears every event),
# "log" (a line for each request), "open" (no key is asked for: the only one that leaves something out).
FEATURES = {
    "no-key": ["open"],
    "access-log": ["log"],
    "rate-limit": ["rate-limit"],
    "word-filter": ["word-filter"],
    "max-token": ["max-token"],
    "rows": ["rows", "store"],
    "events": ["bus"],
    "events-read": ["bus", "reader"],
}
EVERYTHING = ["bus", "store", "rate-limit", "word-filter", "max-token", "rows"]


def build_load(out_dir):
    """The client is built here and not with the product: it has to measure any server, from any tree."""
    sources = [os.path.join(HERE, name) for name in sorted(os.listdir(HERE)) if name.startswith(("load_", "stream_load"))]
    binary = os.path.join(out_dir, "stream_load")
    newest = max(os.path.getmtime(source) for source in sources)
    if not os.path.exists(binary) or os.path.getmtime(binary) < newest:
        units = [source for source in sources if source.endswith(".c")]
        command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-o", binary, *units, "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)
    return binary


def make_certificate(out_dir):
    """P-256, signed by itself, for 127.0.0.1."""
    cert, key = os.path.join(out_dir, "tls.crt"), os.path.join(out_dir, "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", cert, "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    os.chmod(key, 0o600)
    return {"cert": cert, "key": key}


# ---- nginx ----


def start_nginx(name, out_dir, upstream, buffering, cpus, tls_in=None, tls_out=None, connections=NGINX_CONNECTIONS):
    home = os.path.join(out_dir, name)
    os.makedirs(home, exist_ok=True)
    port = free_port()
    tls = NGINX_TLS_IN.format(**tls_in) if tls_in else NGINX_TLS_OUT.format(**tls_out) if tls_out else ""
    conf = os.path.join(home, "nginx.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(NGINX_CONF.format(dir=home, port=port, upstream=upstream, buffering=buffering, tls=tls,
                                     listen="ssl" if tls_in else "", scheme="https" if tls_out else "http",
                                     connections=connections, descriptors=min(2 * connections, descriptor_limit())))  # fmt: skip
    command = ["nginx", "-p", home, "-e", os.path.join(home, "error.log"), "-c", conf, "-g", "daemon off;"]
    log = os.path.join(home, "output.log")
    return Server(name, command, port, log, cpus=cpus, scheme="https" if tls_in else "http")


# ---- the gateway ----


def two_free_ports_after(port):
    """A bus takes three in a row."""
    for at in (port, port + 1, port + 2):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", at))
            except OSError:
                return False
    return True


def bus_port():
    port = free_port()
    while not two_free_ports_after(port):
        port = free_port()
    return port


def config_of(parts, home):
    """Text that is added to the configuration, and the address of its bus or None."""
    text, bus = "", None
    if "bus" in parts:
        bus = f"tcp://127.0.0.1:{bus_port()}"
        text += f"bus:\n  listen: {bus}\n"
    if "store" in parts:
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        text += f"store:\n  backend: sqlite\n  dsn: {home}/ledger.db\n"
    plugins = [PLUGINS[part] for part in parts if part in PLUGINS]
    if plugins:
        text += "plugins:\n" + "".join(f"  - {plugin}\n" for plugin in plugins)
    return text, bus


def everything_on(out_dir):
    """What a team would run: added to the configuration, and where its events are."""
    return config_of(EVERYTHING, os.path.join(out_dir, "everything"))


def start_gateway(name, options, out_dir, upstream, cpus, log_level="warn", more="", *, key=KEY, scheme="http",
                  upstream_scheme="http"):  # fmt: skip
    """`scheme` is that of its own port, which `more` configures."""
    port = free_port()
    log = os.path.join(out_dir, f"{name}.log")
    if options.gateway_command:
        command = options.gateway_command.format(port=port, upstream=upstream).split()
        return Server(name, command, port, log, cpus=cpus)
    conf = os.path.join(out_dir, f"{name}.yaml")
    with open(conf, "w", encoding="ascii") as file:
        file.write(GATEWAY_CONF.format(upstream=upstream, scheme=upstream_scheme) + more)
    command = [options.gateway, "serve", "--config", conf, "--listen", f"127.0.0.1:{port}", "--cells", "1"]
    variables = {"BENCH_UPSTREAM_KEY": "sk-bench", "LOG_LEVEL": log_level, "LOG_FORMAT": "json"}
    variables.update({"MASTER_KEY": key} if key else {"ALLOW_UNAUTHENTICATED_PROXY": "true"})
    return Server(name, command, port, log, env=variables, cpus=cpus, scheme=scheme)


def start_mock(options, out_dir, cpus):
    port = free_port()
    command = (options.mock_command or f"{options.gateway} mock --listen 127.0.0.1:{{port}}").format(port=port).split()
    return Server("direct", command, port, os.path.join(out_dir, "mock.log"), cpus=cpus)


# ---- all of a run ----


class Paths:
    """What is started for the rows of one run, by name; stop() ends whatever was started, also after a failure."""

    def __init__(self, options, out_dir, builds=None):
        """`builds`: binaries by name, where several are compared; a path is then BUILD.PATH."""
        self.options, self.out_dir = options, out_dir
        self.builds = builds or {}
        processors = sorted(os.sched_getaffinity(0))
        pin = len(processors) > 1 and options.pin
        self.ours = {processors[0]} if pin else None
        self.theirs = {processors[1]} if pin else None
        self.servers = {}
        self.helpers = []
        self.tls = None

    def start(self, names):
        """Every path that a row names; the direct one is there in any case."""
        self.servers["direct"] = start_mock(self.options, self.out_dir, self.theirs)
        for name in dict.fromkeys(names):
            if name not in self.servers:
                server = self.start_one(name)
                if server is not None:
                    self.servers[name] = server

    @property
    def upstream(self):
        return self.servers["direct"].port

    def certificate(self):
        self.tls = self.tls or make_certificate(self.out_dir)
        return self.tls

    def tls_upstream(self):
        """The mock speaks no TLS: nginx does it for it, and is measured with nobody."""
        for helper in self.helpers:
            if helper.name == "tls-upstream":
                return helper.port
        self.helpers.append(start_nginx("tls-upstream", self.out_dir, self.upstream, "off", self.theirs,
                                        tls_in=self.certificate()))  # fmt: skip
        return self.helpers[-1].port

    def start_one(self, name):
        if name.startswith("nginx"):
            return self.start_nginx(name)
        if self.options.gateway_command and name != "dynabus":
            return None
        if name == "dynabus-tls":
            more = "tls: {{cert: {cert}, key: {key}}}\n".format(**self.certificate())
            return self.gateway(name, more=more, scheme="https")
        if name == "dynabus-out":
            more = f"upstream: {{ca_file: {self.certificate()['cert']}}}\n"
            return self.gateway(name, self.tls_upstream(), more=more, upstream_scheme="https")
        parts = {"dynabus": [], ALL: [*EVERYTHING, "reader"], **GUARDS, **FEATURES}
        return self.with_parts(name, parts[name.rpartition(".")[2]])

    def fresh(self, name):
        """One more of a kind, which the caller stops; what it needs beside it ends with the rest."""
        kept = self.out_dir
        self.out_dir = os.path.join(kept, "fresh")
        os.makedirs(self.out_dir, exist_ok=True)
        try:
            return self.start_one(name)
        finally:
            self.out_dir = kept

    def start_nginx(self, name):
        if shutil.which("nginx") is None:
            return None
        more = {
            "nginx-tls": lambda: {"tls_in": self.certificate()},
            "nginx-out": lambda: {"tls_out": self.certificate(), "upstream": self.tls_upstream()},
            # It sheds connections when less than a sixteenth is free, so it has more than descriptors.
            "nginx-wide": lambda: {"connections": 24_000},
        }.get(name, dict)()
        buffering = "off" if name in ("nginx-stream", "nginx-wide") else "on"
        return start_nginx(name, self.out_dir, more.pop("upstream", self.upstream), buffering, self.ours, **more)

    def gateway(self, name, upstream=None, **more):
        options = argparse.Namespace(**vars(self.options))
        options.gateway = self.builds.get(name.partition(".")[0], options.gateway)
        return start_gateway(name, options, self.out_dir, upstream or self.upstream, self.ours, **more)

    def with_parts(self, name, parts):
        more, bus = config_of(parts, os.path.join(self.out_dir, "stores", name))
        server = self.gateway(name, more=more, key=None if "open" in parts else KEY,
                              log_level="info" if "log" in parts else "warn")  # fmt: skip
        if "reader" in parts:
            log = os.path.join(self.out_dir, f"{name}-events.log")
            self.helpers.append(Reader([self.options.gateway, "tail", "--bus", bus], log, keep=False))
        return server

    def of_row(self, row):
        """What a row measures, and the server that each is measured on."""
        names = {path: "nginx-stream" if path == "nginx" and row.streams else path for path in row.paths}
        return {path: self.servers[name] for path, name in names.items() if name in self.servers}

    def stop(self):
        started = [*self.servers.values(), *self.helpers]
        for server in started:
            if isinstance(server, Server):
                server.ask_to_stop()
        for server in reversed(started):
            server.stop()
        for folder in ("stores", os.path.join("fresh", "stores")):
            shutil.rmtree(os.path.join(self.out_dir, folder), ignore_errors=True)


def names_of(rows):
    """The servers that these rows need."""
    return [name if not (row.streams and name == "nginx") else "nginx-stream" for row in rows for name in row.paths]
