"""The rule, on evidence made by hand."""

import pytest

from cmir.evaluation.modalities.estimates import Estimate
from cmir.evaluation.modalities.rate_evidence import RankCorrelation, RateEvidence
from cmir.evaluation.modalities.verdicts import Evidence, Word, verdicts
from cmir.evaluation.modalities.worth import Worth


def estimate(value: float, error: float) -> Estimate:
    return Estimate(value, value - 2 * error, value + 2 * error, error, 30.0, 20)


def worth(link: float, gain: float, error: float = 0.01) -> Worth:
    return Worth(estimate(link, error), estimate(gain, error / 2), estimate(0.5, error))


def rates(new: float, known: float, p_value: float = 0.001) -> RateEvidence:
    def correlation(value: float) -> RankCorrelation:
        return RankCorrelation(value, value - 0.2, value + 0.2, p_value, 24)

    return RateEvidence([0.9], [0.1, 0.9], correlation(new), correlation(known))


@pytest.mark.parametrize(
    ("known", "new", "word"),
    [
        (worth(0.7, 0.2), worth(0.0, -0.1), "spurious"),
        (worth(0.7, 0.2), worth(0.5, 0.1), "spurious"),
        (worth(0.7, 0.2), worth(0.68, 0.2), "useful"),
        # Four fifths of a link are as good as all of it.
        (worth(0.7, 0.2), worth(0.57, 0.1), "useful"),
        # No link in known groups: nothing can be lost.
        (worth(0.0, 0.0), worth(-0.4, -0.1), "cannot be told"),
        (worth(0.1, 0.0), worth(0.1, 0.0), "adds nothing"),
        # The same numbers, less sure.
        (worth(0.7, 0.2, 0.3), worth(0.0, -0.1, 0.3), "cannot be told"),
        (worth(0.1, 0.0, 0.1), worth(0.1, 0.0, 0.1), "cannot be told"),
    ],
)
def test_the_word_follows_from_link_and_gain(known: Worth, new: Worth, word: Word) -> None:
    assert verdicts({"vision": Evidence(known, new)})["vision"].word == word


def test_what_is_spurious_in_part_is_said_to_be_useful_still() -> None:
    known = worth(0.7, 0.2)
    part, whole = (Evidence(known, worth(0.4, gain)) for gain in (0.1, -0.1))
    found = verdicts({"part": part, "whole": whole})
    assert [found[name].is_still_useful for name in ("part", "whole")] == [True, False]


def test_p_values_are_corrected_for_the_number_of_modalities() -> None:
    # One-sided p of a loss about .03: enough for one modality, not for two that are as unsure.
    doubtful = Evidence(worth(0.5, 0.2, 0.05), worth(0.28, 0.0, 0.05))
    assert verdicts({"vision": doubtful})["vision"].word == "spurious"
    found = verdicts({"vision": doubtful, "audio": doubtful})
    assert {one.word for one in found.values()} == {"cannot be told"}
    assert found["vision"].p_spurious > 0.05


def test_where_no_worth_was_measured_the_rates_must_say_both() -> None:
    evidence = {
        "vision": Evidence(rates=rates(-0.7, 0.6)),
        "text": Evidence(rates=rates(-0.7, -0.6)),
        "audio": Evidence(rates=rates(0.5, 0.6)),
    }
    found = verdicts(evidence)
    assert [found[name].word for name in evidence] == ["spurious", *["cannot be told"] * 2]


def test_the_rates_do_not_change_what_the_worths_say() -> None:
    evidence = Evidence(worth(0.7, 0.2), worth(0.0, -0.1), rates(0.7, -0.6))
    assert verdicts({"vision": evidence})["vision"].word == "spurious"


def test_nothing_measured_is_nothing_told() -> None:
    assert verdicts({"vision": Evidence()})["vision"].word == "cannot be told"
    assert verdicts({}) == {}
