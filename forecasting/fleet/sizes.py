"""A spec or the sizes of one network go in; the numbers that the cost of its fleets depends on come out."""

# H hidden · G gates · I inputs · O = F Q outputs

from collections.abc import Sequence
from dataclasses import dataclass

from forecasting.recipes import configure
from forecasting.series.calendar import calendar_columns
from forecasting.spec import Spec
from forecasting.training import KernelName, TrainingConfig


@dataclass(frozen=True)
class FleetSizes:
    """What a fleet of one network is like, whatever series it holds; `kernel` is the one that runs, not `auto`."""

    cell: str
    config: TrainingConfig
    horizon: int
    num_quantiles: int
    num_calendar: int
    season_lengths: tuple[int, ...]
    kernel: str = "cpu"
    num_threads: int = 1

    @property
    def num_gates(self) -> int:
        return {"gru": 3}.get(self.cell, 4)

    @property
    def num_inputs(self) -> int:
        return 2 * self.config.segment_length + 1 + self.num_calendar

    @property
    def num_outputs(self) -> int:
        return self.horizon * self.num_quantiles

    @property
    def references(self) -> tuple[int, ...]:
        """What a forecast is the difference from, M."""
        return self.config.references(self.season_lengths)

    @property
    def smoothed(self) -> tuple[int, ...] | None:
        """Seasons that series are smoothed by; None where they are not smoothed."""
        return self.config.smoothed(self.season_lengths)

    @property
    def in_engine(self) -> bool:
        """Whether the CPU engine runs whole steps; it does not know how series are smoothed."""
        return self.kernel == "cpu" and self.smoothed is None

    @property
    def num_looks(self) -> int:
        return -(-self.config.max_steps // self.config.evaluate_every)

    @property
    def padding(self) -> int:
        """Columns that windows need before a panel's first one."""
        return max(self.config.segment_length * self.config.context_segments, *self.season_lengths)

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers in each parameter of one network."""
        hidden, gates = self.config.hidden_size, self.num_gates * self.config.hidden_size
        biases = {"bias_hidden_1G": gates} if self.cell == "gru" else {}
        seasons = self.smoothed
        smoothing = {} if seasons is None else {"coefficients_C": 1 + len(seasons), "seasons_P": sum(seasons)}
        return {
            "input_IG": self.num_inputs * gates,
            "bias_input_1G": gates,
            "hidden_HG": hidden * gates,
            **biases,
            "head_HO": hidden * self.num_outputs,
            "bias_head_1O": self.num_outputs,
            "mixture_FM": self.horizon * self.config.num_references(self.season_lengths),
            **smoothing,
        }

    @property
    def num_weights(self) -> int:
        """Numbers in a series' network."""
        return sum(self.parameters.values())

    def num_rows(self, num_windows: int) -> int:
        """Count the recurrent steps of so many windows."""
        return num_windows * self.config.context_segments


def sizes_of(
    spec: Spec, networks: Sequence[str], *, kernel: KernelName, has_gpu: bool = False, num_threads: int = 1
) -> list[FleetSizes]:
    """Return the sizes of a spec's networks, member by member, on a worker with so many threads, and perhaps a GPU."""
    chosen = kernel if kernel != "auto" else "gpu" if has_gpu else "cpu"
    config = configure(spec)
    return [
        FleetSizes(
            network,
            config.of_member(member).as_run,
            horizon=spec.horizon,
            num_quantiles=len(spec.quantiles),
            num_calendar=len(calendar_columns(spec.freq)),
            season_lengths=spec.season_lengths,
            kernel=chosen,
            num_threads=num_threads,
        )
        for network in networks
        for member in range(len(config.members))
    ]
