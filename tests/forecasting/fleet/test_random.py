import subprocess
import sys

import torch

from forecasting.fleet.random import draw_bits, draw_uniform, series_keys, stable_hash

MASK = (1 << 64) - 1


def mix_in_python(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def test_bits_are_those_of_splitmix64_computed_with_python_integers() -> None:
    golden = 0x9E3779B97F4A7C15
    key = mix_in_python((stable_hash("H12") + 2**31 * golden - golden) & MASK)
    assert series_keys(("H12",), seed=2**31 - 1).item() & MASK == key
    purpose_key = mix_in_python((key ^ stable_hash("windows")) & MASK)
    expected = [mix_in_python((purpose_key + (n + 1) * golden) & MASK) & (MASK >> 1) for n in (0, 5, 10**12)]
    drawn = draw_bits(series_keys(("H12",), seed=2**31 - 1), purpose="windows", counters_D=torch.tensor([0, 5, 10**12]))
    assert drawn[0].tolist() == expected


def test_a_series_draws_the_same_wherever_it_stands() -> None:
    among = draw_uniform(series_keys(("a", "b", "c"), seed=3), purpose="x", num_draws=50)
    alone = draw_uniform(series_keys(("b",), seed=3), purpose="x", num_draws=50)
    assert torch.equal(among[1], alone[0])


def test_names_seeds_and_purposes_draw_differently() -> None:
    draws = [
        draw_uniform(series_keys((name,), seed=seed), purpose=purpose, num_draws=20)
        for name, seed, purpose in [("a", 0, "x"), ("b", 0, "x"), ("a", 1, "x"), ("a", 0, "y")]
    ]
    for i, first in enumerate(draws):
        assert all(not torch.isclose(first, other).any() for other in draws[:i])


def test_uniform_draws_fill_the_unit_interval_evenly() -> None:
    drawn = draw_uniform(series_keys(("a",), seed=0), purpose="x", num_draws=100_000)[0]
    counts = torch.histc(drawn, bins=20, min=0, max=1)
    assert ((counts - 5_000).abs() < 5 * 5_000**0.5).all()
    assert drawn.min() >= 0
    assert drawn.max() < 1


def test_hash_is_the_same_in_another_process() -> None:
    code = "from forecasting.fleet.random import stable_hash; print(stable_hash('EWR/UA'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == stable_hash("EWR/UA")
