"""A worker of a crew: it reads requests as lines of JSON from stdin, and answers each on stdout.

The module of `sides/` that a request names as its `side` prepares it; an empty request runs the prepared work. Only the
imports of that side are loaded, because the peers' environment does not have this package's dependencies.
"""

import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not look like an answer
    warnings.simplefilter("ignore")  # advice about loaders and loggers, once per Trainer
    prepared: Callable[[], dict[str, Any]] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "side" in request:
                prepared = None
                gc.collect()
                side = importlib.import_module(f"tests.benchmarks.sides.{request.pop('side')}")
                prepared, answer = side.prepare(**request), {}
            else:
                assert prepared is not None
                answer = prepared()
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
