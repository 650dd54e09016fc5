"""A job for tests, run by Ray: `python fake_job.py BEHAVIOUR`, with its arguments in FLEETCAST_RUN as the real ones.

`python fake_job.py as_named` behaves as the spec is named.
"""

import json
import os
import sys
import time


def main(behaviour: str) -> int:
    """Print the arguments, then succeed, fail, skip or sleep as its argument says; return the exit code."""
    arguments = json.loads(os.environ["FLEETCAST_RUN"])
    if behaviour == "as_named":
        behaviour = arguments["spec"]["name"]
    print(f"run {arguments['run_id']} of generation {arguments['generation']} begins", flush=True)
    if behaviour == "sleep":
        time.sleep(600)
    if behaviour == "fail":
        for number in range(80):
            print(f"line {number}")
        print("the last thing it said")
        return 1
    if behaviour == "user_error":
        print("error: spec 'small': freq = '0h': must be 1 or more")
        return 2
    result = {
        "run_id": arguments["run_id"],
        "job": arguments["job"],
        "status": "skipped" if behaviour == "skip" else "success",
        "cutoff": arguments["cutoff"] or "2024-01-07T23:00:00",
        "versions": {"features": 3, "observations": 4, "rejects": 5},
        "message": f"arguments: {json.dumps(arguments)}" if behaviour.startswith("echo") else f"{behaviour} it is",
    }
    print(result["message"])
    print(f"fleetcast-result: {json.dumps(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
