"""Gateways and mocks as the tests start them, and the configuration they get."""

import json

from harness.process import INPROC, HttpProcess, Process, free_port

KEY_VARIABLE = "TEST_UPSTREAM_KEY"
UPSTREAM_KEY = "sk-upstream-secret-0123456789abcdef"


def target(url, name="upstream", models=("test-model",), **more):
    """A target that speaks the OpenAI dialect at that root."""
    return {"name": name, "provider": "openai", "base_url": url + "/v1", "api_key": "${%s}" % KEY_VARIABLE,
            "models": list(models), **more}


def write_config(path, targets, **keys):
    """YAML by way of JSON, which is a part of it."""
    config = {"targets": targets, **keys}
    if INPROC:
        config.setdefault("bus", {})["local"] = "inproc"
    path.write_text(json.dumps(config, indent=2))
    return path


class Gateway(HttpProcess):
    def __init__(self, directory, targets, arguments=(), environment=None, port=None, config=None, **options):
        port = port or free_port()
        self.config_path = write_config(directory / f"config-{port}.yaml", targets, **(config or {}))
        variables = {KEY_VARIABLE: UPSTREAM_KEY, "LOG_FORMAT": "json", **(environment or {})}
        super().__init__(
            ["serve", "--config", self.config_path, "--listen", f"127.0.0.1:{port}", *arguments],
            port, directory / f"gateway-{port}.log", "/readyz", environment=variables, **options,
        )


class Mock(HttpProcess):
    def __init__(self, directory, script=None):
        port = free_port()
        arguments = ["mock", "--listen", f"127.0.0.1:{port}"]
        if script is not None:
            path = directory / f"mock-{port}.yaml"
            path.write_text(json.dumps(script))
            arguments += ["--script", path]
        super().__init__(arguments, port, directory / f"mock-{port}.log", "/mock/stats")


def run_to_end(arguments, directory, environment=None, seconds=30):
    """A command that ends by itself: exit code and everything it printed."""
    process = Process(arguments, directory / f"command-{free_port()}.log", environment=environment)
    code = process.wait_exit(seconds)
    process.assert_clean_log()
    return code, process.log()
