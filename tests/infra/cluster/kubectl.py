"""What KubeRay's operator does with a RayJob, on a Ray cluster of this machine: it submits the entrypoint.

kubectl.py apply -f PLACE ...    RayJobs are submitted, other objects only read
kubectl.py wait ... -f PLACE     until its RayJobs have succeeded; else their log, and status 1

PLACE is a file, or a folder, of which all .yaml files are meant.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

NOT_YET = ("No available agent", "Connection refused", "Server disconnected", "timed out")
PATIENCE_S = 180.0


def main() -> int:
    verb, *rest = sys.argv[1:]
    places = [Path(rest[k + 1]) for k, word in enumerate(rest) if word == "-f"]
    files = [file for place in places for file in (sorted(place.glob("*.yaml")) or [place])]
    objects = [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]
    assert all(each["apiVersion"] and each["metadata"]["name"] for each in objects)
    jobs = [each for each in objects if each["kind"] == "RayJob"]
    if verb == "apply":
        for job in jobs:
            submit(job)
        return 0
    return max([wait(job["metadata"]["name"]) for job in jobs], default=0) if verb == "wait" else 0


def submit(job: dict[str, Any]) -> None:
    """As the submitter pod does: with the runtime environment of the manifest, and the token."""
    values = {
        "entrypoint": job["spec"]["entrypoint"],
        "submission_id": job["metadata"]["name"],
        "runtime_env": yaml.safe_load(job["spec"]["runtimeEnvYAML"]),
    }
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            call("/api/jobs/", values)
            return
        except (urllib.error.URLError, OSError) as error:
            told = error.read().decode() if isinstance(error, urllib.error.HTTPError) else str(error)
            if not any(word in told for word in NOT_YET) or time.monotonic() > deadline:
                raise SystemExit(f"{job['metadata']['name']}: {told}") from None
        time.sleep(1)


def wait(name: str) -> int:
    """Until it has ended; its log where it did not succeed."""
    began = time.monotonic()
    while (status := call(f"/api/jobs/{name}")["status"]) in ("PENDING", "RUNNING"):
        time.sleep(0.3)
    print(f"{name}: {status} after {time.monotonic() - began:.1f} s", flush=True)
    if status != "SUCCEEDED":
        print(call(f"/api/jobs/{name}/logs")["logs"][-6000:], flush=True)
    return int(status != "SUCCEEDED")


def call(path: str, values: dict[str, Any] | None = None) -> Any:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(os.environ["RAY_API_SERVER_ADDRESS"] + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


if __name__ == "__main__":
    sys.exit(main())
