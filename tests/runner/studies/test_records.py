"""Records of trials, also of those that older code has left."""

from __future__ import annotations

from tests.support.small_promotion import record


def test_a_record_from_before_penalties_had_names_is_the_same_trial() -> None:
    old = record(
        3, {}, environments__partition="speaker", loss__risk_variance=2.5, loss__anneal_epochs=4
    )
    trial = old.config
    assert (trial.loss.penalty, trial.loss.penalty_weight) == ("vrex", 2.5)
    assert trial.loss.penalty_anneal_epochs == 4
