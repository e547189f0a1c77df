"""pytest fixtures shared by scenarios and client tests (loaded with -p harness.fixtures)."""

import json

import pytest

from harness.fleet import Fleet
from harness.gateway import Gateway, Mock, target
from harness.http import Connection
from harness.upstream import Upstream, answer_normally


@pytest.fixture(scope="module")
def module_upstream():
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory, module_upstream):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), [target(module_upstream.url)])
    try:
        yield gateway.wait_ready()
        gateway.stop()
    finally:
        gateway.kill()


@pytest.fixture
def upstream(module_upstream):
    """The provider behind `gateway`; answers normally until the test says otherwise."""
    module_upstream.reset_to(answer_normally)
    yield module_upstream
    assert not module_upstream.failures, module_upstream.failures


@pytest.fixture
def gateway(module_gateway, upstream):
    """One gateway for all tests of a file, with one target. It must still be there after each test."""
    yield module_gateway
    assert module_gateway.child.poll() is None, module_gateway.log()


@pytest.fixture
def connect(gateway):
    """connect() opens a connection to `gateway`; all are closed after the test."""
    opened = []

    def open_one(**options):
        opened.append(Connection(gateway.port, **options))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def start_gateway(tmp_path):
    """Starts further gateways, each with the configuration that the test needs."""
    started = []

    def start(targets, wait=True, **options):
        started.append(Gateway(tmp_path, targets, **options))
        return started[-1].wait_ready() if wait else started[-1]

    yield start
    try:
        for process in started:
            process.stop()
    finally:
        for process in started:
            process.kill()


@pytest.fixture(params=["cells", "tcp"])
def start_both(request, start_gateway, tmp_path):
    """As start_gateway, twice: a process of two cells, and an edge, a router and a provider of two cells each."""
    fleets = []

    def start(targets, config=None):
        if request.param == "cells":
            return start_gateway(targets, arguments=["--cells", "2"], config=config)
        fleets.append(Fleet(tmp_path, "http://replaced", routers=1, cells=2, is_open=True))
        written = json.loads(fleets[-1].config.read_text())
        fleets[-1].config.write_text(json.dumps({**written, "targets": targets, **(config or {})}))
        return fleets[-1].start()

    yield start
    try:
        for fleet in fleets:
            fleet.stop()
    finally:
        for fleet in fleets:
            fleet.close()


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    """`dynabus mock`, for many streams and for its count of what it saw."""
    process = Mock(tmp_path_factory.mktemp("mock"))
    try:
        yield process.wait_ready()
        process.stop()
    finally:
        process.kill()
