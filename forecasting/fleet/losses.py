"""The loss of a fleet: a mean within each series, never across series."""

# S series · B windows · F horizon steps · Q quantiles

from torch import Tensor


def pinball_loss(predicted_SBFQ: Tensor, target_SBF: Tensor, is_observed_SBF: Tensor, quantiles_Q: Tensor) -> Tensor:
    """Return each series' mean pinball loss over its observed targets (Koenker & Bassett 1978).

    Args:
        predicted_SBFQ: Predicted quantiles.
        target_SBF: Targets.
        is_observed_SBF: Whether a target is observed; others are left out.
        quantiles_Q: Levels of the quantiles, in (0, 1).

    Returns:
        (S,) in units of the target; 0 for a series without an observed target.
    """
    error_SBFQ = target_SBF.unsqueeze(-1) - predicted_SBFQ
    loss_SBF = (error_SBFQ.clamp(min=0) - (1 - quantiles_Q) * error_SBFQ).mean(-1)
    weight_SBF = is_observed_SBF.to(loss_SBF.dtype)
    return (loss_SBF * weight_SBF).sum((1, 2)) / weight_SBF.sum((1, 2)).clamp(min=1)
