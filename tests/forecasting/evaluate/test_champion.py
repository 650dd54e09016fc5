"""Champions: the model that is chosen, the margin it needs, and the reason."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.evaluate.champion import choose_champions
from forecasting.schemas import table

Row = tuple[Any, ...]
SCHEMA = {
    "unique_id": pl.String,
    "model": pl.String,
    "origin": pl.Int64,
    "num_points": pl.Int32,
    "mae": pl.Float64,
    "mase": pl.Float64,
}
NAIVE_24 = "seasonal_naive_24"
NAIVE_168 = "seasonal_naive_168"


def rows(model: str, *mases: float | None, unique_id: str = "a", mae: float = 1.0, num_points: int = 10) -> list[Row]:
    """One row per origin, from 1, with the given MASE."""
    return [(unique_id, model, origin, num_points, mae, mase) for origin, mase in enumerate(mases, 1)]


def choose(scores: Sequence[Row], **options: Any) -> dict[str, Any]:
    defaults = {
        "unique_ids": ["a"],
        "networks": ["lstm", "gru"],
        "season_lengths": [24, 168],
        "margin": 0.02,
        "unavailable": {},
    }
    champions = choose_champions(pl.DataFrame(list(scores), schema=SCHEMA, orient="row"), **defaults | options)
    assert champions.height == 1
    return champions.row(0, named=True)


def test_network_that_beats_the_best_baseline_by_the_margin_is_champion() -> None:
    champion = choose([*rows(NAIVE_24, 2, 2), *rows(NAIVE_168, 1, 1), *rows("lstm", 0.8, 0.9), *rows("gru", 0.9, 0.9)])
    assert champion == {
        "unique_id": "a",
        "model": "lstm",
        "mase": pytest.approx(0.85),
        "baseline": NAIVE_168,
        "baseline_mase": 1.0,
        "num_origins": 2,
        "is_fallback": False,
        "reason": f"lstm: MASE 15 % below {NAIVE_168} over 2 origins",
        "regression_share": None,
    }


@pytest.mark.parametrize(
    ("mase", "reason"),
    [
        (0.99, "lstm has a 1 % lower MASE, less than the margin of 2 %, over 1 origin"),
        (1.0, "same MASE as lstm over 1 origin"),
        (1.5, "MASE 33.33 % below lstm over 1 origin"),
    ],
)
def test_baseline_is_champion_where_a_network_is_not_better_by_the_margin(mase: float, reason: str) -> None:
    champion = choose([*rows(NAIVE_24, 1.0), *rows("lstm", mase)], networks=["lstm"])
    assert champion["model"] == NAIVE_24
    assert champion["is_fallback"] is False
    assert champion["reason"] == f"{NAIVE_24}: {reason}"


def test_network_exactly_at_the_margin_is_not_champion() -> None:
    scores = [*rows(NAIVE_24, 1.0), *rows("lstm", 0.75)]
    assert choose(scores, margin=0.25, networks=["lstm"])["model"] == NAIVE_24
    assert choose(scores, margin=0.24, networks=["lstm"])["model"] == "lstm"


def test_ties_go_to_the_earlier_name() -> None:
    equal = [*rows("gru", 0.5), *rows("lstm", 0.5), *rows(NAIVE_168, 1.0), *rows(NAIVE_24, 1.0)]
    assert choose(equal)["model"] == "lstm"
    assert choose(equal, networks=["gru", "lstm"])["model"] == "gru"
    assert choose(equal)["baseline"] == NAIVE_24
    assert choose(equal, season_lengths=[168, 24])["baseline"] == NAIVE_168
    assert choose([*rows(NAIVE_24, 1.0), *rows("lstm", 1.0)], margin=0.0)["model"] == NAIVE_24


def test_only_origins_that_all_candidates_share_are_compared() -> None:
    scores = [*rows(NAIVE_24, 9.0, 1.0), *rows("lstm", 0.1, 2.0)[1:], *rows("gru", 0.1, 2.0)]
    champion = choose(scores)
    assert (champion["model"], champion["num_origins"]) == (NAIVE_24, 1)


def test_candidate_that_shares_no_origin_is_left_out_and_named() -> None:
    scores = [*rows(NAIVE_24, 1.0, 1.0), *rows("lstm", 0.5, 0.5), ("a", "gru", 7, 10, 1.0, 0.1)]
    champion = choose(scores)
    assert champion["model"] == "lstm"
    assert champion["reason"].endswith("; gru has no score at a shared origin")


def test_origins_weigh_as_much_as_they_have_points() -> None:
    few, many = rows("lstm", 4.0, num_points=1), rows("lstm", 0, 0.5, num_points=9)[1:]
    champion = choose([*few, *many, *rows(NAIVE_24, 1.0, 1.0)])
    assert champion["mase"] == pytest.approx(0.85)


def test_origin_without_compared_points_does_not_count() -> None:
    scores = [*rows(NAIVE_24, 1.0, 1.0), *rows("lstm", 0.5), ("a", "lstm", 2, 0, 0.0, 0.0)]
    assert choose(scores)["num_origins"] == 1


def test_mae_decides_where_mase_is_undefined() -> None:
    scores = [*rows(NAIVE_24, None, mae=2.0), *rows("lstm", None, mae=1.0)]
    champion = choose(scores, networks=["lstm"])
    assert (champion["model"], champion["mase"], champion["baseline"], champion["baseline_mase"]) == (
        "lstm",
        None,
        NAIVE_24,
        None,
    )
    assert champion["reason"] == f"lstm: MAE 50 % below {NAIVE_24} over 1 origin (MASE is undefined)"


def test_errors_in_units_of_a_step_are_not_averaged_with_those_of_a_season() -> None:
    scores = [*rows(NAIVE_24, 1.0, 1.0, mae=2.0), *rows("lstm", 9.0, 0.5, mae=1.0)]
    frame = pl.DataFrame(scores, schema=SCHEMA, orient="row").with_columns(scaled_by_step=pl.col("origin") == 1)
    (champion,) = choose_champions(
        frame, unique_ids=["a"], networks=["lstm"], season_lengths=[24, 168], margin=0.02, unavailable={}
    ).iter_rows(named=True)
    assert (champion["model"], champion["mase"]) == ("lstm", 0.5)


def test_errors_near_the_largest_float_can_be_compared() -> None:
    scores = [*rows(NAIVE_24, None, None, mae=8e307), *rows("lstm", None, None, mae=6e307)]
    champion = choose(scores, networks=["lstm"])
    assert champion["reason"] == f"lstm: MAE 25 % below {NAIVE_24} over 2 origins (MASE is undefined)"


def test_perfect_baseline_cannot_be_beaten() -> None:
    for mae in (0.0, 1.0):
        champion = choose([*rows(NAIVE_24, None, mae=0.0), *rows("lstm", None, mae=mae)], networks=["lstm"])
        assert (champion["model"], champion["is_fallback"]) == (NAIVE_24, False)


@pytest.mark.parametrize(
    ("margin", "mases", "model", "reason"),
    [
        (-0.5, (0.8, 0.8), "combination", "MASE 20 % below seasonal_naive_24 over 2 origins"),
        (
            -0.5,
            (1.2, 1.4),
            "combination",
            "seasonal_naive_24 has a 23.08 % lower MASE over 2 origins, too little evidence against the combination",
        ),
        (-0.5, (1.6, 1.6), NAIVE_24, "MASE 37.5 % below combination over 2 origins"),
        (-0.5, (9.0,), "combination", "88.89 % lower MASE over 1 origin, too little evidence against the combination"),
        (-0.5, (1.0, 1.0), "combination", "same MASE as seasonal_naive_24 over 2 origins"),
        (0.0, (1.0, 1.0), NAIVE_24, "same MASE as combination over 2 origins"),
        (0.3, (0.8, 0.8), NAIVE_24, "combination has a 20 % lower MASE, less than the margin of 30 %, over 2 origins"),
        (0.3, (9.0,), NAIVE_24, "MASE 88.89 % below combination over 1 origin"),
    ],
)
def test_combination_is_champion_unless_a_baseline_is_far_better(
    margin: float, mases: tuple[float, ...], model: str, reason: str
) -> None:
    ones = [1.0] * len(mases)
    # A network with the best score of the series is ignored: choosing by a series' own scores loses.
    best = rows("lstm", *[0.1] * len(mases))
    champion = choose([*rows(NAIVE_24, *ones), *rows("combination", *mases), *best], margin=margin)
    assert champion["model"] == model
    assert reason in champion["reason"]
    assert champion["reason"].startswith(f"{model}: ")
    assert champion["baseline"] == NAIVE_24


def test_a_negative_margin_lets_no_worse_network_win_without_a_combination() -> None:
    scores = [*rows(NAIVE_24, 1.0, 1.0), *rows("lstm", 1.2, 1.2)]
    assert choose(scores, margin=-0.5)["model"] == NAIVE_24


def test_combination_that_lacks_an_origin_costs_the_others_none() -> None:
    champion = choose([*rows(NAIVE_24, 1.0, 1.0), *rows("lstm", 0.5, 0.5), *rows("combination", 0.1)])
    assert (champion["model"], champion["num_origins"]) == ("lstm", 2)


def test_the_only_requested_network_is_champion_even_where_it_is_worse_or_was_not_compared() -> None:
    worse = [*rows(NAIVE_24, 1.0), *rows("lstm", 5.0)]
    champion = choose(worse, networks=["lstm"], alone="lstm")
    assert (champion["model"], champion["mase"], champion["baseline_mase"], champion["is_fallback"]) == (
        "lstm",
        5.0,
        1.0,
        False,
    )
    champion = choose([], networks=["lstm"], alone="lstm")
    assert (champion["model"], champion["mase"], champion["num_origins"], champion["is_fallback"]) == (
        "lstm",
        None,
        0,
        False,
    )


def test_an_unavailable_only_network_falls_back_with_its_reason() -> None:
    champion = choose(
        [*rows(NAIVE_24, 1.0), *rows(NAIVE_168, 0.9), *rows("lstm", 0.1)],
        networks=["lstm"],
        alone="lstm",
        unavailable={("a", "lstm"): "series 'a' has 10 points but needs 72"},
    )
    assert (champion["model"], champion["is_fallback"], champion["mase"]) == (NAIVE_168, True, 0.9)
    assert champion["reason"] == (
        f"{NAIVE_168} as fallback: no network could be compared; "
        "lstm is unavailable: series 'a' has 10 points but needs 72"
    )


def test_an_unavailable_network_does_not_compete() -> None:
    scores = [*rows(NAIVE_24, 1.0), *rows("lstm", 0.1), *rows("gru", 0.5)]
    champion = choose(scores, unavailable={("a", "lstm"): "its loss became NaN", ("b", "gru"): "other series"})
    assert (champion["model"], champion["is_fallback"]) == ("gru", False)
    assert (
        champion["reason"] == f"gru: MASE 50 % below {NAIVE_24} over 1 origin; lstm is unavailable: its loss became NaN"
    )


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([], NAIVE_24),
        ([NAIVE_24], NAIVE_168),
        ([NAIVE_24, NAIVE_168], "naive"),
        ([NAIVE_24, NAIVE_168, "naive"], "none"),
    ],
)
def test_champion_of_a_series_without_an_origin_is_the_simplest_available_baseline(
    missing: list[str], expected: str
) -> None:
    champion = choose([], unavailable={("a", model): "too short" for model in missing})
    assert (champion["model"], champion["is_fallback"], champion["num_origins"]) == (expected, True, 0)
    assert champion["reason"].startswith(f"{expected} as fallback: no model could be compared at any origin")


def test_naive_is_the_rival_where_no_seasonal_naive_was_scored() -> None:
    champion = choose([*rows("naive", 1.0), *rows("lstm", 0.5)])
    assert (champion["model"], champion["baseline"]) == ("lstm", "naive")
    champion = choose([*rows("lstm", 0.5)])
    assert (champion["model"], champion["baseline"], champion["is_fallback"]) == ("lstm", None, False)


def test_columns_are_those_of_the_table_and_rows_those_of_the_names_in_order() -> None:
    backtests = pl.DataFrame(
        rows(NAIVE_24, 1.0, unique_id="b") + rows("lstm", 0.1, unique_id="z"), schema=SCHEMA, orient="row"
    )
    options: dict[str, Any] = {"networks": ["lstm"], "season_lengths": [24], "margin": 0.02, "unavailable": {}}
    champions = choose_champions(backtests, unique_ids=["c", "b", "a"], **options)
    assert champions["unique_id"].to_list() == ["c", "b", "a"]
    declared = table("champions").schema("timestamp")
    bookkeeping = {"spec", "cutoff_date", "run_cutoff", "run_id", "data_version"}
    assert champions.schema == {name: dtype for name, dtype in declared.items() if name not in bookkeeping}
    assert choose_champions(backtests, unique_ids=[], **options).schema == champions.schema


@given(
    mases=st.lists(st.one_of(st.none(), st.floats(0, 10)), min_size=4, max_size=4),
    margin=st.floats(0, 0.9),
    missing=st.sets(st.sampled_from([NAIVE_24, NAIVE_168, "naive", "lstm", "gru"])),
)
def test_a_network_that_is_champion_is_always_better_by_the_margin(
    mases: list[float | None], margin: float, missing: set[str]
) -> None:
    models = (NAIVE_24, NAIVE_168, "lstm", "gru")
    scores = [row for model, mase in zip(models, mases, strict=True) if mase is not None for row in rows(model, mase)]
    champion = choose(scores, margin=margin, unavailable={("a", model): "missing" for model in missing})
    assert champion["model"] not in missing
    if champion["model"] in ("lstm", "gru") and champion["baseline"] is not None:
        assert champion["mase"] < (1 - margin) * champion["baseline_mase"]


def test_statistical_model_that_beats_the_best_baseline_by_the_margin_is_champion() -> None:
    scores = [*rows(NAIVE_24, 1, 1), *rows("theta", 0.8, 0.8), *rows("lstm", 0.9, 0.9)]
    champion = choose(scores, statistics=["theta", "ets"], networks=["lstm"])
    assert champion["model"] == "theta"
    assert champion["mase"] == pytest.approx(0.8)
    assert champion["is_fallback"] is False
    assert champion["reason"] == f"theta: MASE 20 % below {NAIVE_24} over 2 origins"
    slightly = choose([*rows(NAIVE_24, 1.0), *rows("theta", 0.99)], statistics=["theta"], networks=["lstm"])
    assert slightly["model"] == NAIVE_24
    reason = f"{NAIVE_24} as fallback: theta has a 1 % lower MASE, less than the margin of 2 %, over 1 origin"
    assert slightly["reason"].startswith(reason)


def test_the_only_requested_network_is_champion_though_a_statistical_model_is_better() -> None:
    scores = [*rows(NAIVE_24, 1.0), *rows("theta", 0.1), *rows("lstm", 0.9)]
    assert choose(scores, statistics=["theta"], networks=["lstm"], alone="lstm")["model"] == "lstm"


def test_statistical_model_that_does_not_compete_is_ignored() -> None:
    assert choose([*rows(NAIVE_24, 1.0), *rows("theta", 0.1), *rows("lstm", 0.9)], networks=["lstm"])["model"] == "lstm"


def test_statistical_model_without_a_network_beside_it_is_a_fallback() -> None:
    why = {("a", "lstm"): "series is too short"}
    champion = choose(
        [*rows(NAIVE_24, 1.0), *rows("theta", 0.5)], statistics=["theta"], networks=["lstm"], unavailable=why
    )
    assert (champion["model"], champion["is_fallback"]) == ("theta", True)
    reason = f"theta as fallback: MASE 50 % below {NAIVE_24} over 1 origin; lstm is unavailable: series is too short"
    assert champion["reason"] == reason
    unopposed = choose(rows("theta", 0.5), statistics=["theta"], networks=["lstm"], unavailable=why)
    assert unopposed["reason"].startswith("theta as fallback: best candidate over 1 origin; no baseline was scored")


def test_statistical_model_that_lacks_an_origin_costs_the_others_none() -> None:
    late = [row for row in rows("theta", 0.1, 0.1, 0.1) if row[2] > 1]
    champion = choose(
        [*rows(NAIVE_24, 1, 1, 1), *late, *rows("ets", 0.7, 0.7, 0.7), *rows("lstm", 0.8, 0.8, 0.8)],
        statistics=["theta", "ets"],
        networks=["lstm"],
    )
    assert (champion["model"], champion["num_origins"]) == ("ets", 3)


def test_tie_of_a_statistical_model_and_a_network_goes_to_the_statistical_model() -> None:
    scores = [*rows(NAIVE_24, 1.0), *rows("lstm", 0.5), *rows("theta", 0.5)]
    assert choose(scores, statistics=["theta"], networks=["lstm"])["model"] == "theta"


@pytest.mark.parametrize(
    ("scores", "options", "model"),
    [
        (rows(NAIVE_24, 1.0, 1.0), {}, "combination"),
        ([], {}, "combination"),
        (rows(NAIVE_24, 1.0, 1.0), {"margin": 0.0}, NAIVE_24),
        (rows(NAIVE_24, 1.0, 1.0), {"unique_ids": ["b"]}, NAIVE_24),
        (rows(NAIVE_24, 1.0, 1.0), {"alone": "lstm"}, NAIVE_24),
        ([*rows(NAIVE_24, 1.0, 1.0), *rows("combination", 9.0, 9.0)], {}, NAIVE_24),
        ([*rows(NAIVE_24, 1.0, 1.0), *rows("lstm", 2.0, 2.0)], {}, NAIVE_24),
    ],
    ids=["too short", "no origin", "evidence is required", "not combinable", "one network", "compared", "network"],
)
def test_combination_is_champion_of_a_series_that_is_too_short_for_a_comparison(
    scores: list[Row], options: dict[str, Any], model: str
) -> None:
    (name,) = options.get("unique_ids", ["a"])
    missing = {(name, network): "too few points" for network in ("lstm", "gru")}
    if any(row[1] == "lstm" for row in scores):
        missing = {}
    champion = choose(scores, **{"margin": -1.0, "combinable": {"a"}, "unavailable": missing} | options)
    assert champion["model"] == model
    if model == "combination":
        assert not champion["is_fallback"]
        assert "too short for a comparison" in champion["reason"]
        assert "lstm is unavailable: too few points" in champion["reason"]
