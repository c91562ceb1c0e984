"""The table of an experiment: rivals of no design where all have the same, and of each where they differ."""

import pandas as pd

from tasks.page.observed import describe_numbers, tabulate_observed


def scores(kriged, drawn):
    rows = [
        {"experiment": "half", "rival": "kriging", "crps/t2m": kriged, "rank_p/t2m": 0.5, "rank_width/t2m": 1.0},
        {"experiment": "half", "rival": "bilinear", "crps/t2m": 2.0},
        {"experiment": "half", "guide": "interpolation", "steps": 5.0, "nfe": 5.0, "crps/t2m": drawn, "skill/t2m": 0.25}
        | {"skill_error/t2m": 0.1, "verdict/t2m": "ahead", "cases": 16.0, "extreme_spread_error/t2m": 0.5},
        {"experiment": "half", "guide": "pigdm", "steps": 5.0, "nfe": 15.0, "failed": "NaN or infinity"},
        {"experiment": "box", "rival": "kriging", "crps/t2m": 9.0},
    ]
    table = pd.DataFrame(rows).assign(cases=16, extreme_cases=8, extreme_share=0.05)
    return table.assign(**{f"{score}/t2m": float("nan") for score in ("misfit", "spread_error")})


def test_rivals_stand_once_where_designs_have_the_same_and_with_their_design_elsewhere():
    same = tabulate_observed({"a": scores(1.0, 0.7), "b": scores(1.0, 0.8)}, "half", ["t2m"], ["degC"])
    assert [(row["way"], row["design"], row["crps"]) for row in same] == [
        ("kriging", "", "1"),
        ("bilinear", "", "2"),
        ("interpolation, 5 steps", "a", "0.7"),
        ("pigdm, 5 steps", "a", "failed"),
        ("interpolation, 5 steps", "b", "0.8"),
        ("pigdm, 5 steps", "b", "failed"),
    ]
    other = tabulate_observed({"a": scores(1.0, 0.7), "b": scores(1.5, 0.8)}, "half", ["t2m"], ["degC"])
    assert [row["design"] for row in other if row["way"] == "kriging"] == ["a", "b"]
    assert [row["design"] for row in other if row["way"] == "bilinear"] == [""]


def test_numbers_stand_as_texts_and_what_is_not_known_is_empty():
    kriging, _, drawn, failed = tabulate_observed({"a": scores(1.0, 0.7)}, "half", ["t2m"], ["degC"])
    assert (kriging["variable"], kriging["skill"], kriging["ranks"], kriging["nfe"]) == (
        "t2m [degC]",
        "",
        "1.00 (5e-01)",
        "",
    )
    assert (drawn["skill"], drawn["nfe"], drawn["extreme_spread_error"]) == ("+0.250 ± 0.100 (ahead)", "5", "0.5")
    assert (failed["skill"], failed["misfit"], failed["psnr"]) == ("", "", "")
    said = describe_numbers(scores(1.0, 0.7), "half")
    assert (
        said
        == "16 held-out cases, spread evenly, and the 8 with the most extreme observations (5 % of all are as extreme)"
    )
