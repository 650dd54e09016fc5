"""The job of several steps, whose predict step waits or fails while a file beside the store demands it."""

import sys
import time
from pathlib import Path

from forecasting.errors import SpecError
from forecasting.settings import Settings
from workers.jobs import flow, predict
from workers.jobs.run import Outcome, Run

HOLD, REFUSE = "hold_predict", "refuse_predict"


def main() -> int:
    """Run the steps; return the exit code."""
    folder, work = Path(Settings.load().store).parent, predict.predict

    def held(run: Run) -> Outcome:
        if (folder / REFUSE).exists():
            raise SpecError("spec 'shared'", ["models = 'planted': is refused here"])
        while (folder / HOLD).exists():
            time.sleep(0.1)
        return work(run)

    predict.predict = held
    return flow.main()


if __name__ == "__main__":
    sys.exit(main())
