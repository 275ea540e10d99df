"""What a service would have used after a restart that its recording knows nothing of.

A recording shows one history; a restart makes another. Two models suggest themselves: growth as a
function of *age* (the new run repeats the recorded life from its beginning), and growth by *wall
time* (the new run grows by what the recorded one grew at the same hours). Leaks mostly follow the
load, so the first puts Monday's growth on Sunday night and is out of phase with every daily cycle;
the second alone never warms up again. So this is by age while a service starts up and by wall time
afterwards:

- A run begins at the level at which the recorded life began, and repeats its start-up by age.
- Once warm it uses what was recorded at the same time, less what the restart gave back: what had
  gathered since the recorded service was as young. Both are floors of some minutes, so that one
  peak of a heap counts for nothing. Where a recorded life is older than a day, the growth since
  the same hour of its first day counts if it is more: noon is compared with noon.
- It never uses less than the recorded service ever did once warm. A restart at the top of a daily
  cycle takes the whole height for leaked at first; when the night shows that it was not, the
  difference comes back. So without a leak the model returns to the recording by itself.
- Where the recorded service was killed and the modelled one was not, it grows on at the mean pace
  of that life until the recorded one is warm again, and from there by wall time.
- A recorded restart by others happens to the modelled service too, which is then as recorded.

A straight leak comes out exactly, whatever the policy does. What this cannot know: a leak that
runs faster with age instead of load, and load that others took over while the service was down.
"""

from bisect import bisect_right
from copy import copy

from leakguard.core.frozen import dataclass
from leakguard.runtime.backtest.lives import Ending, Life
from leakguard.runtime.backtest.recording import Recording

DAY_S = 86_400.0
FLOOR_S = 1800.0
"""Levels are compared by the least of this much time."""


@dataclass(frozen=True, slots=True)
class Line:
    """Memory that is not read off the recording: it begins at a time and size, and grows."""

    since_s: float
    level: float
    slope: float


class ServiceMemory:
    """The memory of one simulated service, sample by sample; it goes forward only."""

    __slots__ = (
        "_floor", "_given_back", "_life", "_line", "_lives", "_profile", "_recording", "_young_s",
        "began", "died_s", "value",
    )  # fmt: skip

    def __init__(self, recording: Recording, lives: tuple[Life, ...]) -> None:
        """Begin in step with the recording."""
        self._recording, self._lives = recording, lives
        self._life = 0
        self._profile = lives[0]
        self._floor = lives[0].floor
        self._given_back = 0.0
        self._young_s: float | None = None
        """When the run began, while it is starting up."""
        self._line: Line | None = None
        self.value = recording.values[0]
        self.began = False
        """A recorded restart by others gave a new run at this sample."""
        self.died_s: float | None = None
        """When the recorded kill took it, which is in step: a new run is there at this sample."""

    def fork(self) -> "ServiceMemory":
        """Give one that goes its own way from here."""
        return copy(self)

    def start(self, born_s: float) -> float:
        """Begin a new run that the recording does not have, and give its first size."""
        recording = self._recording
        place = max(0, bisect_right(recording.times, born_s) - 1)
        while self._life + 1 < len(self._lives) and self._lives[self._life + 1].first <= place:
            self._life += 1
        self._profile = self._profile_of(self._life)
        self._floor = min(self._profile.floor, self._lives[self._life].floor)
        self._line, self._young_s = None, born_s
        self.began, self.died_s = False, None
        self.value = recording.values[self._profile.first]
        if not self._profile.warm_s:
            self._settle(born_s)
            self.value = self._size(born_s, recording.at(born_s, *self._bounds(self._life)))
        return self.value

    def step(self, i: int) -> float:
        """Go on to sample `i`, the next one, and give the size there."""
        t, recorded = self._recording.times[i], self._recording.values[i]
        self.began, self.died_s = False, None
        if self._life + 1 < len(self._lives) and i >= self._lives[self._life + 1].first:
            self._cross(i)
        if self._young_s is not None and t >= self._young_s + self._profile.warm_s:
            self._settle(self._young_s + self._profile.warm_s)
        self.value = self._size(t, recorded)
        return self.value

    def _size(self, t: float, recorded: float) -> float:
        if self._young_s is not None:
            profile = self._profile
            return self._recording.at(
                profile.born_s + t - self._young_s, profile.first, profile.last
            )
        if self._line is not None:
            size = self._line.level + self._line.slope * (t - self._line.since_s)
            if t < self._lives[self._life].settled_s:
                return size
            self._line, self._given_back = None, recorded - size
        if self._given_back > 0 and recorded - self._given_back < self._floor:
            self._given_back = max(0.0, recorded - self._floor)
        return recorded - self._given_back

    def _cross(self, i: int) -> None:
        """Enter the next recorded life, as its forerunner's end says."""
        past, gap_begin = self._lives[self._life], self._recording.times[i - 1]
        self._life += 1
        in_step = self._young_s is None and self._line is None and self._given_back <= 0
        if past.ending is Ending.RESTARTED:
            self.began = True
        elif past.ending is Ending.KILLED and in_step:
            self.died_s = self._death_s(past, i)
        if self.began or self.died_s is not None:
            self._given_back, self._line, self._young_s = 0.0, None, None
            self._profile = self._lives[self._life]
            self._floor = self._profile.floor
            return
        self._floor = min(self._floor, self._lives[self._life].floor)
        if self._young_s is None and self._line is None:
            self._line = Line(gap_begin, self.value, past.slope)

    def _death_s(self, past: Life, i: int) -> float:
        """Give when a service that is in step with its recording reached the limit."""
        limit, t = self._recording.limit_bytes, self._recording.times[i]
        if limit is None or past.pace <= 0:
            return past.end_s
        return min(t, past.end_s + max(0.0, limit - self.value) / past.pace)

    def _settle(self, t: float) -> None:
        """From `t` on the run is warm: find what the restart gave back."""
        self._young_s = None
        life, profile = self._lives[self._life], self._profile
        if t < life.settled_s and life is not profile:
            level = self._recording.at(profile.settled_s, profile.first, profile.last)
            self._line, self._given_back = Line(t, level, life.slope), 0.0
            return
        span = min(FLOOR_S, life.end_s - t, profile.end_s - profile.settled_s)
        gained = self._low(t, span, life) - self._low(profile.settled_s, span, profile)
        if t - life.settled_s >= DAY_S:
            first_day = life.settled_s + (t - life.settled_s) % DAY_S
            gained = max(gained, self._low(t, span, life) - self._low(first_day, span, life))
        self._given_back = max(0.0, gained)

    def _low(self, t: float, span: float, life: Life) -> float:
        return self._recording.lowest(t, t + max(0.0, span), life.first, life.last)

    def _profile_of(self, place: int) -> Life:
        """Choose the life that shows how this service starts: mostly the one it is in.

        The first may have begun long before its recording; then a later one that began lower does.
        """
        life, values = self._lives[place], self._recording.values
        if place == 0 and len(self._lives) > 1:
            known = self._lives[1]
            if values[known.first] < values[life.first]:
                return known
        return life

    def _bounds(self, place: int) -> tuple[int, int]:
        return self._lives[place].first, self._lives[place].last
