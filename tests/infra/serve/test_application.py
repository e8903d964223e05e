"""The application that Ray Serve runs, in its local testing mode: front and replica in this process."""

import time
from pathlib import Path

from ray import serve
from starlette.testclient import TestClient

from infra.serve.front import OfThisProcess, application


def test_the_front_hands_batches_to_a_replica_and_passes_on_progress_results_and_cancellation(
    tmp_path: Path,
) -> None:
    generate = {"checkpoint": "tiny", "output": tmp_path, "device": "cpu", "solver": {"steps": 2}}
    generate |= {"clip": {"seconds": 1.0, "height": 64, "width": 64}}
    values = {"folder": tmp_path, "generate": generate, "replicas": {"least": 1, "most": 1}, "close_s": 5}
    serve.run(application(values), name="syncflow", _local_testing_mode=True)
    client = TestClient(OfThisProcess(), base_url="http://127.0.0.1")
    jobs = [client.post("/v1/jobs", json={"prompt": f"metal {n}", "seed": n}).json() for n in range(2)]
    long = client.post("/v1/jobs", json={"prompt": "metal", "steps": 100}).json()
    end = time.monotonic() + 200
    states: dict[str, str] = {}
    while set(states.values()) != {"done"}:
        assert time.monotonic() < end, states
        time.sleep(0.1)
        states = {job["id"]: client.get(f"/v1/jobs/{job['id']}").json()["state"] for job in jobs}
    assert client.get(f"/v1/jobs/{jobs[0]['id']}/files/clip.mp4").status_code == 200
    while client.get(f"/v1/jobs/{long['id']}").json()["share"] == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert client.delete(f"/v1/jobs/{long['id']}").json()["state"] == "cancelled"
    assert client.get("/health").json() == {"status": "ok"}
