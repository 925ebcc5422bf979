"""A server that answers as Kubeflow Pipelines' API does, as far as `mstar pipeline` asks: with the behaviour
that was measured on a real one. Names of runs are not unique, a run that was just created is found, and an
unknown parameter is refused.
"""

import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass
class Stored:
    """What the server holds."""

    token: str = ""
    """Refuses whoever does not give this one, if it is set."""
    pipelines: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, list[Json]] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    runs: list[Json] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class KubeflowServer(ThreadingHTTPServer):
    """At a port of this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stored = Stored()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: KubeflowServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        stored = self.server.stored
        stored.asked.append(f"{method} {parts.path}")
        try:
            if stored.token and self.headers.get("Authorization") != f"Bearer {stored.token}":
                raise Refused(401, "who are you?")
            status, found = 200, answer(stored, method, parts.path.removeprefix("/apis/v2beta1"), query, body)
        except Refused as refused:
            status, found = refused.status, {"message": str(refused)}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())


def answer(stored: Stored, method: str, path: str, query: dict[str, str], body: bytes) -> Json:
    match method, path.strip("/").split("/"):
        case "GET", ["healthz"]:
            return {"multi_user": False}
        case "GET", ["pipelines"]:
            return {"pipelines": _named(stored.pipelines.values(), query)}
        case "POST", ["pipelines", "upload"]:
            return _upload(stored, query["name"], body)
        case "POST", ["pipelines", "upload_version"]:
            version = {"display_name": query["name"], "pipeline_id": query["pipelineid"]}
            stored.versions[query["pipelineid"]].append(version)
            return version
        case "GET", ["pipelines", pipeline, "versions"]:
            return {"pipeline_versions": stored.versions[pipeline]}
        case "GET", ["experiments"]:
            return {"experiments": _named(stored.experiments.values(), query)}
        case "POST", ["experiments"]:
            name = json.loads(body)["display_name"]
            stored.experiments[name] = {"experiment_id": f"e-{name}", "display_name": name}
            return stored.experiments[name]
        case "GET", ["runs"]:
            return {"runs": _named(reversed(stored.runs), query)}
        case "POST", ["runs"]:
            return _create(stored, json.loads(body))
        case "GET", ["runs", run]:
            return _find(stored, run)
        case "POST", ["runs", terminated] if terminated.endswith(":terminate"):
            _find(stored, terminated.removesuffix(":terminate"))["state"] = "CANCELING"
            return {}
    raise Refused(404, f"no {method} {path}")


def _upload(stored: Stored, name: str, body: bytes) -> Json:
    if name in stored.pipelines:
        raise Refused(409, f"the name {name} already exists")
    stored.pipelines[name] = {"pipeline_id": f"p-{name}", "display_name": name, "name": name}
    stored.versions[f"p-{name}"] = [{"display_name": name, "pipeline_id": f"p-{name}"}]
    assert b"deploymentSpec" in body
    return stored.pipelines[name]


def _create(stored: Stored, asked: Json) -> Json:
    spec = asked["pipeline_spec"]["pipeline_spec"]
    assert "kubernetes" in asked["pipeline_spec"]["platform_spec"]["platforms"]
    known = spec["root"]["inputDefinitions"]["parameters"]
    for name in asked["runtime_config"]["parameters"]:
        if name not in known:
            raise Refused(400, f"parameter {name} is not an input of the pipeline")
    run = {"run_id": f"run-{len(stored.runs)}", "display_name": asked["display_name"], "state": "PENDING"}
    stored.runs.append(run | {"runtime_config": asked["runtime_config"]})
    return run


def _find(stored: Stored, run: str) -> Json:
    for one in stored.runs:
        if one["run_id"] == run:
            return one
    raise Refused(404, f"run {run} not found")


def _named(all_of_them: Any, query: dict[str, str]) -> list[Json]:
    wanted = re.search(r'"(?:string_value|stringValue)": *"([^"]*)"', query.get("filter", ""))
    return [one for one in all_of_them if wanted is None or one["display_name"] == wanted[1]]
