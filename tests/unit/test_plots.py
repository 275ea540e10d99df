"""The charts of the documentation are what the code of today draws."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from leakguard.core import forecast
from tests.bench.plots import CHARTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-it-decides.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_as_committed(name: str) -> None:
    """After a change of the detector: `python -m tests.bench.plots docs/plots`."""
    assert (DOCS / "plots" / name).read_text(encoding="utf-8") == CHARTS[name]()


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_whole_and_shown(name: str) -> None:
    """It is well-formed, has words for those who cannot see it, and the page shows it."""
    root = ET.parse(DOCS / "plots" / name).getroot()  # noqa: S314  our own file
    assert root.get("aria-label")
    assert f"(plots/{name})" in PAGE


@pytest.mark.parametrize(
    "constant",
    [
        *forecast.VARIANCE,
        forecast.BAND_FLOOR,
        forecast.BAND_APART,
        forecast.BAND_SCORE,
        forecast.BAND_CRAMPED,
        forecast.BAND_STRETCH,
        forecast.EARLY,
        forecast.LATE,
        forecast.PATIENCE,
    ],
)
def test_the_page_gives_the_constants_of_the_band(constant: float) -> None:
    """Who wants to check the method finds the numbers that the code goes by."""
    assert f"{constant:g} " in PAGE
