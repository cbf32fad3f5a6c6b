"""What ends a study is a value; as text it is the reason that reports give."""

import pytest

from surfaces.bowls import study
from telescope.studies.kind import EndCause, Ended
from telescope.studies.telescoping.kind import KIND

TEXTS = [
    (Ended(EndCause.OUT_OF_TIME), "limits.max_seconds is used up"),
    (Ended(EndCause.CANCELLED), "cancelled"),
    (Ended(EndCause.FAILED, "trial 3 failed"), "failed: trial 3 failed"),
]


@pytest.mark.parametrize(("ended", "text"), TEXTS)
def test_what_ended_a_study_is_the_reason_of_its_report(ended: Ended, text: str) -> None:
    report = KIND.of(study()).report((), ended)
    assert (str(ended), report.reason, report.final) == (text, text, True)
    assert report.because is not None
    assert dict(report.because.values) == {"by": ended.cause, "detail": ended.detail}
