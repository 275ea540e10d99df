"""Lines of a log in, finished OOM reports out, in bounded memory.

Every kill that the log names gives exactly one record, whatever is missing round it: "Kill
process", `oom-kill:` and "Killed process" name the same kill; a report that names nobody has none.
Lines of two reports are told apart by host and thread where these are printed; without either, by
the pids in their task tables. `oom_reaper:` lines name a kill that happened before: they add to it
and make none.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from leakguard.core.oomlog import patterns
from leakguard.core.oomlog.lines import Line, take_apart
from leakguard.core.oomlog.readers import Place, understood
from leakguard.core.oomlog.report import OomReport
from leakguard.core.oomlog.voice import HELD, Voice

VOICES = 64
WARM_OPEN = 2000
WARM_DONE = 4
ROWS_HELD = 200_000
ROWS_EVERY = 1000
ORPHANS = 256


def read_reports(lines: Iterable[str]) -> Iterator[OomReport]:
    """Give the reports of a log, each when it is finished."""
    parser = OomLogParser()
    for line in lines:
        yield from parser.feed(line)
    yield from parser.flush()


class OomLogParser:
    """Reads a log line by line; `feed` and `flush` give what is finished."""

    def __init__(self) -> None:
        """Start with nothing open."""
        self._voices: OrderedDict[str, Voice] = OrderedDict()
        self._done: list[OomReport] = []
        self._no = 0
        self._warm_until = 0
        self._seq: int | None = None
        self._lost = False
        self._last_voice = ""
        self._is_cut = False
        self._recent: deque[int] = deque(maxlen=ORPHANS)
        self.orphans: deque[tuple[int, str]] = deque(maxlen=ORPHANS)
        """Processes that the reaper freed without a line that names them as killed."""

    def feed(self, raw: str) -> list[OomReport]:
        """Take one line; give the reports that it finished."""
        self._no += 1
        if self._no > self._warm_until and not patterns.is_worth_a_look(raw):
            self._seq = None
            return []
        line = take_apart(raw)
        if line is None:
            return []
        if line.seq is not None:
            self._lost = self._seq is not None and line.seq > self._seq + 1
            self._seq = line.seq
        if line.text:
            self._take(line)
        return self._finished()

    def flush(self) -> list[OomReport]:
        """Give everything that is still open, as far as it came."""
        for voice in self._voices.values():
            self._settle(voice)
            self._finish(voice, keep=0)
        return self._finished()

    def _finished(self) -> list[OomReport]:
        if not self._done:
            return []
        done, self._done = self._done, []
        return done

    def _take(self, line: Line) -> None:
        voice = self._voice(line)
        if "#012" not in line.text:
            self._read(voice, line)
        else:  # rsyslog spells a newline so
            for part in line.text.split("#012"):
                self._read(voice, replace(line, text=part))
        if len(voice.drafts) > HELD:
            self._finish(voice, keep=HELD)
        if self._no % ROWS_EVERY == 0 and sum(len(one.rows) for one in voice.drafts) > ROWS_HELD:
            self._finish(voice, keep=1)

    def _read(self, voice: Voice, line: Line) -> None:
        if self._completes(voice, line):
            return
        self._settle(voice)
        if not self._understood(voice, line, line.text) and patterns.BEGUN.match(line.text):
            voice.begun = line, line.text
            self._stay_warm(WARM_DONE)

    def _completes(self, voice: Voice, line: Line) -> bool:
        """Tell whether a line was the end of one that a mailer, or a newline in a name, broke."""
        if voice.begun is None or patterns.OWN.search(line.text) is not None:
            return False
        first, begun = voice.begun
        glue = " " if line.bare else "\n"
        if begun.startswith("oom-kill:"):
            glue = ""
        if not self._understood(voice, first, f"{begun}{glue}{line.text.lstrip()}"):
            return False
        voice.begun = None
        return True

    def _settle(self, voice: Voice) -> None:
        """Read the beginning of a line whose end never came for what it says."""
        if voice.begun is None:
            return
        (line, text), voice.begun = voice.begun, None
        self._understood(voice, line, text, cut=True)

    def _finish(self, voice: Voice, *, keep: int) -> None:
        while len(voice.drafts) > keep:
            draft = voice.drafts.pop(0)
            self._recent.extend(draft.kills)
            self._done.append(draft.report())
            voice.give_out(draft)

    def _voice(self, line: Line) -> Voice:
        is_rest = line.bare and self._last_voice and not patterns.OWN.search(line.text)
        key = self._last_voice if is_rest else line.voice
        voice = self._voices.get(key) or self._first_cut(key, line)
        if voice is None:
            voice = self._voices[key] = Voice()
            self._is_cut = line.time is None and self._no == 1
            if len(self._voices) > VOICES:
                _, oldest = self._voices.popitem(last=False)
                self._settle(oldest)
                self._finish(oldest, keep=0)
        if key != self._last_voice:
            self._voices.move_to_end(key)
            self._last_voice = key
        return voice

    def _first_cut(self, key: str, line: Line) -> Voice | None:
        """Give the voice of the first line, when that was cut so that its host was not read."""
        if not self._is_cut or line.time is None or len(self._voices) != 1:
            return None
        self._is_cut = False
        _, voice = self._voices.popitem()
        self._voices[key] = voice
        return voice

    def _understood(self, voice: Voice, line: Line, text: str, *, cut: bool = False) -> bool:
        """Read one line of the kernel; False when it says nothing about an OOM kill."""
        if text.startswith("oom_reaper: "):
            return self._reaped(text)
        place = Place(voice=voice, line=line, line_no=self._no, cut=cut, lost=self._lost)
        if not understood(place, text):
            return False
        self._stay_warm(WARM_OPEN if voice.is_open() else WARM_DONE)
        return True

    def _stay_warm(self, lines: int) -> None:
        self._warm_until = max(self._warm_until, self._no + lines)

    def _reaped(self, text: str) -> bool:
        """Note that a victim's memory was freed; another thread says it, at any time later."""
        match = patterns.REAPED.match(text)
        if match is None:
            return False
        pid = int(match["pid"])
        drafts = (draft for one in self._voices.values() for draft in reversed(one.drafts))
        kill = next((kill for draft in drafts if (kill := draft.kill(pid)) is not None), None)
        if kill is not None:
            kill.reaped = True
        elif pid not in self._recent:
            self.orphans.append((pid, match["name"]))
        return True
