"""The only torch code: cells, network, loss, sampling, Lightning module, fit, predict."""
