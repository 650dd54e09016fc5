"""Fleetcast: forecast many time series, each with a small recurrent network of its own.

    import forecasting as fc
    result = fc.forecast(frame, freq="1h", season_lengths=[24, 168], horizon=48)

Names are imported when they are first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecasting.api import Evaluation, Fleet, Result, Store, backtest, fit, forecast, load
    from forecasting.errors import (
        CheckFailed,
        ClusterError,
        DataWarning,
        FleetcastError,
        JobFailed,
        JobLost,
        NothingStored,
        QueryError,
        ServiceError,
        SourceError,
        SpecError,
        StoreError,
        UserError,
    )
    from forecasting.spec.spec import Spec, read_spec

    __version__: str

__all__ = [
    "CheckFailed",
    "ClusterError",
    "DataWarning",
    "Evaluation",
    "Fleet",
    "FleetcastError",
    "JobFailed",
    "JobLost",
    "NothingStored",
    "QueryError",
    "Result",
    "ServiceError",
    "SourceError",
    "Spec",
    "SpecError",
    "Store",
    "StoreError",
    "UserError",
    "__version__",
    "backtest",
    "fit",
    "forecast",
    "load",
    "read_spec",
]

_MODULES = {
    "forecasting.api": ("Evaluation", "Fleet", "Result", "Store", "backtest", "fit", "forecast", "load"),
    "forecasting.errors": (
        *(name for name in __all__ if name.endswith("Error")),
        *("CheckFailed", "DataWarning", "JobFailed", "JobLost", "NothingStored"),
    ),
    "forecasting.spec.spec": ("Spec", "read_spec"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("fleetcast")
    for module, names in _MODULES.items():
        if name in names:
            from importlib import import_module

            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'forecasting' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
