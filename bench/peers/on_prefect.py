"""The chain and the fan-out on Prefect, with its server on loopback, the quicker of the two ways it offers.

Its calls return before its server has recorded them, so that is timed too: until the server counts them as completed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

CHAIN, FAN, ROUNDS = map(int, sys.argv[1:4])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]
os.environ |= {"PREFECT_HOME": os.environ["BENCH_HOME"], "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api"}

import prefect  # noqa: E402  it reads the environment when it is imported


@prefect.task
def nothing(number: int) -> int:
    """Do nothing."""
    return number


@prefect.flow
def chain(count: int) -> float:
    """Return the seconds that tasks took, one by one."""
    begun = time.perf_counter()
    for number in range(count):
        nothing(number)
    return time.perf_counter() - begun


@prefect.flow
def fan(count: int) -> float:
    """Return the seconds that tasks took, all at once on threads."""
    begun = time.perf_counter()
    for future in [nothing.submit(number) for number in range(count)]:
        future.result()
    return time.perf_counter() - begun


def main() -> None:
    """Measure with a server of our own."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PORT)]
    server = subprocess.Popen(
        [*command, "--no-ui"] if "--no-ui" in _help(command) else command,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(f"http://127.0.0.1:{PORT}/api/health")
        chain(5)
        found: dict[str, list[float]] = {"chain": [], "chain_kept": [], "fan": [], "fan_kept": []}
        expected = 5
        for name, flow, count, rounds in (("chain", chain, CHAIN, ROUNDS), ("fan", fan, FAN, 1)):
            for _ in range(rounds):
                _recorded(expected)
                begun = time.perf_counter()
                found[name].append(flow(count))
                expected += count
                _recorded(expected)
                found[f"{name}_kept"].append(time.perf_counter() - begun)
        print("answer: " + json.dumps({"version": f"Prefect {prefect.__version__}, its server", **found}))
    finally:
        server.terminate()
        server.wait()


def _help(command: list[str]) -> str:
    return subprocess.run([*command[:5], "--help"], capture_output=True, text=True, check=False).stdout


def _recorded(expected: int) -> None:
    """Wait until the server has so many completed task runs."""
    asked = json.dumps({"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/api/task_runs/count", data=asked, headers={"content-type": "application/json"}
    )
    until = time.monotonic() + 180
    while time.monotonic() < until:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310  loopback
            if int(reply.read()) >= expected:
                return
        time.sleep(0.25)
    raise SystemExit(f"Prefect's server had not recorded {expected} task runs after 180 s.")


def _await(address: str) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2):  # noqa: S310  loopback
            return
        time.sleep(0.2)
    raise SystemExit("Prefect's server did not answer within 90 s.")


if __name__ == "__main__":
    main()
