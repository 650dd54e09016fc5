"""The loss of a fleet: a mean within each series, never across series."""

# S series · B windows · F horizon steps · Q quantiles

from torch import Tensor


def pinball_loss(predicted_SBFQ: Tensor, target_SBF: Tensor, is_observed_SBF: Tensor, quantiles_Q: Tensor) -> Tensor:
    """Return each series' mean pinball loss over its observed targets, (S,), in units of the target.

    Unobserved targets count for nothing; a series without any gets 0. Pinball loss: Koenker & Bassett 1978.
    """
    error_SBFQ = target_SBF.unsqueeze(-1) - predicted_SBFQ
    loss_SBF = (error_SBFQ.clamp(min=0) - (1 - quantiles_Q) * error_SBFQ).mean(-1)
    weight_SBF = is_observed_SBF.to(loss_SBF.dtype)
    return (loss_SBF * weight_SBF).sum((1, 2)) / weight_SBF.sum((1, 2)).clamp(min=1)
