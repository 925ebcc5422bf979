"""A Kubeflow Pipelines server, through kfp's public client; whatever goes wrong there is one clear line.

Run names are not unique for Kubeflow. Here a name is its youngest run, and one that is at work is not started
a second time. Nothing is sent again by itself: the server may have done it although it said no.
"""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from mstar.errors import UserError
from mstar.kubeflow.compiling import version_of

HOST, TOKEN, COOKIES, NAMESPACE = "KF_PIPELINES_ENDPOINT", "KFP_TOKEN", "KFP_COOKIES", "KFP_NAMESPACE"
"""Environment variables; the secrets among them are nowhere else."""
HEALTH = "/apis/v2beta1/healthz"
CONNECT_SECONDS = 10.0
FORWARD = "kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
AT_WORK = ("PENDING", "RUNNING", "PAUSED", "CANCELING", "RUNTIME_STATE_UNSPECIFIED", None)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and the namespace where somebody's runs are, on a server of many users."""

    host: str
    namespace: str | None

    @classmethod
    def find(cls, host: str | None, namespace: str | None) -> "Address":
        """What is not given is in the environment."""
        found = host or os.environ.get(HOST)
        if not found:
            raise UserError(
                f"no Kubeflow server is named; give --host http://localhost:8888, or {HOST} ({FORWARD})"
            )
        whole = found if "://" in found else f"https://{found}"
        return cls(whole.rstrip("/"), namespace or os.environ.get(NAMESPACE))


class Server:
    """What the commands need of it."""

    def __init__(self, address: Address) -> None:
        """UserError where nothing answers there."""
        self.address = address
        _reach(address.host)
        with self._asking():
            from kfp import client

            self._client = client.Client(
                host=address.host,
                existing_token=os.environ.get(TOKEN),
                cookies=os.environ.get(COOKIES),
                namespace=address.namespace or "kubeflow",
            )

    def upload(self, name: str, place: Path) -> str:
        """Put a compiled pipeline where the UI shows it; returns the name of this version of it."""
        version = version_of(place)
        with self._asking():
            found = self._client.get_pipeline_id(name)
            if found is None:
                found = self._client.upload_pipeline(
                    str(place), name, namespace=self.address.namespace
                ).pipeline_id
            versions = self._client.list_pipeline_versions(found, page_size=100).pipeline_versions or []
            if version not in [one.display_name for one in versions]:
                self._client.upload_pipeline_version(str(place), version, pipeline_id=found)
        return version

    def start(
        self, name: str, place: Path, values: Mapping[str, Any], experiment: str, account: str | None
    ) -> str:
        """Start a run of a compiled pipeline; returns its id. UserError where one of this name is at work."""
        with self._asking(name):
            at_work = [one.run_id for one in self._runs(name) if one.state in AT_WORK]
            if at_work:
                raise UserError(
                    f"{name} is at work already as {at_work[0]}; wait for it, or mstar pipeline cancel {name}"
                )
            group = self._client.create_experiment(experiment, namespace=self.address.namespace)
            started = self._client.run_pipeline(
                group.experiment_id,
                name,
                pipeline_package_path=str(place),
                params=dict(values),
                enable_caching=False,
                service_account=account,
            )
        return str(started.run_id)

    def find(self, name: str) -> Any:
        """A run by its id, or the youngest of a name. UserError where there is none."""
        with self._asking(name):
            runs = self._runs(name)
            return self._client.get_run(runs[0].run_id if runs else name)

    def cancel(self, run_id: str) -> None:
        """End a run's pods; Kubeflow calls it failed then."""
        with self._asking(run_id):
            self._client.terminate_run(run_id)

    def page_of(self, run_id: str) -> str:
        """Where the UI shows a run, if it is served at the same address."""
        return f"{self.address.host}/#/runs/details/{run_id}"

    def _runs(self, name: str) -> list[Any]:
        """Those of a name, the youngest first."""
        named = {"operation": "EQUALS", "key": "name", "string_value": name}
        found = self._client.list_runs(
            page_size=100,
            sort_by="created_at desc",
            namespace=self.address.namespace,
            filter=json.dumps({"predicates": [named]}),
        )
        return list(found.runs or [])

    @contextlib.contextmanager
    def _asking(self, run: str = "") -> Iterator[None]:
        """The client prints links and warnings of its own; its errors become one line."""
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            if isinstance(error, UserError) or not (said := _explain(error, self.address.host, run)):
                raise
            raise UserError(said) from None


def _explain(error: Exception, host: str, run: str) -> str | None:
    """The line for an error of the client; None for one of ours."""
    status, said = getattr(error, "status", None), _reason(error)
    if status in (401, 403):
        return _refused(host, said)
    if status == 404 and run:
        return f"{host} knows no run {run}; see mstar pipeline status NAME, or the UI's list of runs"
    if status:
        return f"{host} answers {status} ({said}); correct it, or look at the server's log"
    if type(error).__module__.partition(".")[0] in ("urllib3", "requests", "kfp_server_api"):
        return f"{host} is no Kubeflow Pipelines server, or does not answer ({said}); {FORWARD}"
    return None


def _reason(error: Exception) -> str:
    """What the server said, in one line."""
    body = getattr(error, "body", None)
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        found = json.loads(body or "")
        body = found.get("message") or found.get("error") or body
    text = str(body or getattr(error, "reason", None) or error)
    return " ".join(text.split())[:200]


def _reach(host: str) -> None:
    """Ask whether it is well: the client itself would wait for minutes, and try again when it is refused."""
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"the Kubeflow server is {host}; write an address such as http://localhost:8888")
    headers = {}
    if token := os.environ.get(TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    if cookies := os.environ.get(COOKIES):
        headers["Cookie"] = cookies
    try:
        answer = urllib3.request(
            "GET", f"{host}{HEALTH}", headers=headers, timeout=CONNECT_SECONDS, retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        reason = str(error).rpartition(": ")[2]
        raise UserError(f"nothing answers at {host} ({reason}); start it, or reach it by {FORWARD}") from None
    if answer.status in (301, 302, 303, 307, 401, 403):
        raise UserError(_refused(host, f"status {answer.status}"))
    if answer.status != 200 or not answer.data.lstrip().startswith(b"{"):
        raise UserError(
            f"what answers at {host} is no Kubeflow Pipelines server (status {answer.status} for {HEALTH}); "
            f"correct the address, or reach it by {FORWARD}"
        )


def _refused(host: str, said: str) -> str:
    return f"{host} refuses you ({said}); set {TOKEN} or {COOKIES}, and the --namespace that is yours"
