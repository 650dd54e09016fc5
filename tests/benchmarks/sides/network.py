"""One series' network as usually written with torch.nn, and the parts that both of its trainers share."""

# S series · B windows of a step · V validation windows · T steps · I inputs · H hidden · F horizon steps

import torch
from torch import Tensor, nn

from forecasting.fleet.windows import WindowBatch
from tests.benchmarks.cases import HORIZON, Gathered

RECURRENCES = {"lstm": nn.LSTM, "gru": nn.GRU}

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs (T, B, I), values of a season ago (B, F) and targets (B, F) of one optimiser step."""


class SeriesNetwork(nn.Module):
    """A recurrence and a linear head on its last state, which predicts the difference from a season ago."""

    def __init__(self, cell: str, gathered: Gathered, row: int) -> None:
        super().__init__()
        weights = {name: weight[row] for name, weight in gathered.weights.items()}
        num_inputs, hidden_size = weights["input_IG"].shape[0], weights["hidden_HG"].shape[0]
        self.recurrence = RECURRENCES[cell](num_inputs, hidden_size)
        self.head = nn.Linear(hidden_size, HORIZON)
        with torch.no_grad():  # the fleet's initial weights, so that losses can be compared
            self.recurrence.weight_ih_l0.copy_(weights["input_IG"].T)
            self.recurrence.weight_hh_l0.copy_(weights["hidden_HG"].T)
            self.recurrence.bias_ih_l0.copy_(weights["bias_input_1G"][0])
            self.recurrence.bias_hh_l0.copy_(weights.get("bias_hidden_1G", torch.zeros(1, 1))[0])
            self.head.weight.copy_(weights["head_HO"].T)
            self.head.bias.copy_(weights["bias_head_1O"][0])
        if cell == "lstm":
            # Only the sum of an LSTM's two biases matters; with both trained, it takes twice the optimiser's step.
            self.recurrence.bias_hh_l0.requires_grad_(False)

    def forward(self, x_TBI: Tensor, reference_BF: Tensor) -> Tensor:
        outputs_TBH, _ = self.recurrence(x_TBI)
        ahead_BF: Tensor = self.head(outputs_TBH[-1])
        return reference_BF + ahead_BF


def split_batches(windows: WindowBatch, row: int, *, batch_windows: int) -> list[Batch]:
    """Cut one series' windows into batches with time first, the fastest layout of torch's recurrences."""
    return [
        (x_BTI.transpose(0, 1).contiguous(), reference_BF, target_BF)
        for x_BTI, reference_BF, target_BF in zip(
            windows.x_SBTI[row].split(batch_windows),
            windows.reference_SBFM[row, ..., 0].split(batch_windows),
            windows.target_SBF[row].split(batch_windows),
            strict=True,
        )
    ]


def half_absolute_error(predicted_BF: Tensor, target_BF: Tensor) -> Tensor:
    """Return the pinball loss of the median; windows of the cases have no gaps."""
    return 0.5 * (target_BF - predicted_BF).abs().mean()


def make_optimizer(network: nn.Module, learning_rate: float) -> torch.optim.Adam:
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(learned, lr=learning_rate, fused=True)


@torch.no_grad()
def validation_losses(networks: list[SeriesNetwork], gathered: Gathered) -> dict[str, float]:
    """Return the loss of each series' network on its validation windows."""
    losses = {}
    for row, (name, network) in enumerate(zip(gathered.panel.unique_ids, networks, strict=True)):
        num_windows = gathered.validation.target_SBF.shape[1]
        ((x_TBI, reference_BF, target_BF),) = split_batches(gathered.validation, row, batch_windows=num_windows)
        losses[name] = float(half_absolute_error(network(x_TBI, reference_BF), target_BF))
    return losses
