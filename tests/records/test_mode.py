"""Steps between modes."""

from __future__ import annotations

import pytest

from reconciler.records.mode import Mode, descent, lowers, refusal


@pytest.mark.parametrize("now", list(Mode))
@pytest.mark.parametrize("wanted", list(Mode))
def test_only_the_step_from_off_to_active_is_refused(now: Mode, wanted: Mode) -> None:
    assert (refusal(now, wanted) is not None) == (now is Mode.OFF and wanted is Mode.ACTIVE)


@pytest.mark.parametrize(
    ("now", "wanted", "passed"),
    [
        (Mode.ACTIVE, Mode.OFF, (Mode.OBSERVE, Mode.OFF)),
        (Mode.ACTIVE, Mode.OBSERVE, (Mode.OBSERVE,)),
        (Mode.OBSERVE, Mode.OFF, (Mode.OFF,)),
        (Mode.OBSERVE, Mode.ACTIVE, ()),
        (Mode.OFF, Mode.OFF, ()),
    ],
)
def test_the_way_down_passes_every_mode(now: Mode, wanted: Mode, passed: tuple[Mode, ...]) -> None:
    assert descent(now, wanted) == passed
    assert lowers(now, wanted) == bool(passed)
