"""What a log puts round a kernel line comes off, and what other programs say is left out."""

import pytest

from leakguard.core.oomlog.lines import MAX_LINE, Line, take_apart

TEXT = "Out of memory: Killed process 651 (a) b) total-vm:4kB"
BOOT = ("[ 2048.038554] ", "2048.038554", 2048.038554)


def line(raw: str) -> Line:
    """Give a line that is one of the kernel's."""
    taken = take_apart(raw)
    assert taken is not None
    return taken


@pytest.mark.parametrize(
    ("prefix", "time", "boot_s"),
    [
        ("", None, None),
        BOOT,
        ("[    0.000001] ", "0.000001", 0.000001),
        ("[ 2048.038] ", "2048.038", 2048.038),
        ("<4>[ 2048.038554] ", "2048.038554", 2048.038554),
        ("kern  :err   : [ 2048.038554] ", "2048.038554", 2048.038554),
        ("[ 2048.038554 <    0.000016>] ", "2048.038554", 2048.038554),
        ("[ 2048.038554][ T9185] ", "2048.038554", 2048.038554),
        ("[ 2048.038554] [   C1] ", "2048.038554", 2048.038554),
        ("[Wed Mar 13 11:16:48 2024] ", "Wed Mar 13 11:16:48 2024", None),
        ("[Mi Mär 13 11:16:48 2024] ", "Mi Mär 13 11:16:48 2024", None),
        ("[五 12月 30 00:46:32 2022] ", "五 12月 30 00:46:32 2022", None),
        ("[Mar13 11:16] ", "Mar13 11:16", None),
        ("[  +0.000004] ", None, None),
        ("2024-03-13T11:16:48,123456+00:00 ", "2024-03-13T11:16:48,123456+00:00", None),
        ("Jun 20 12:47:43 host kernel: ", "Jun 20 12:47:43", None),
        ("Jun  2 12:47:43 host kernel: [ 2048.038554] ", "Jun  2 12:47:43", 2048.038554),
        ("Mär 13 11:16:48 host kernel: ", "Mär 13 11:16:48", None),
        ("13. März 11:16:48 host kernel: ", "13. März 11:16:48", None),
        (
            "2024-03-13T11:16:48.123456+01:00 host kernel: ",
            "2024-03-13T11:16:48.123456+01:00",
            None,
        ),
        ("2024-03-13 11:16:48 host kernel: ", "2024-03-13 11:16:48", None),
        ("Wed 2024-03-13 11:16:48 CET host kernel: ", "Wed 2024-03-13 11:16:48 CET", None),
        ("1710325008.123456 host kernel: ", "1710325008.123456", None),
        ("[ 2048.038554] host kernel: ", "2048.038554", 2048.038554),
        ("<6>1 2024-03-13T11:16:48.1Z host kernel - - - ", "2024-03-13T11:16:48.1Z", None),
        ("<6>Jun 20 12:47:43 host kernel: ", "Jun 20 12:47:43", None),
        ("kernel: ", None, None),
        ("web_1  | [ 2048.038554] ", "2048.038554", 2048.038554),
        ("[pod/node-7/logs] [ 2048.038554] ", "2048.038554", 2048.038554),
        ("> > [ 2048.038554] ", "2048.038554", 2048.038554),
        ("messages:12:Jun 20 12:47:43 host kernel: ", "Jun 20 12:47:43", None),
        ("17-[ 2048.038554] ", "2048.038554", 2048.038554),
        ("vm3 console> [ 2048.038554] ", "2048.038554", 2048.038554),
        ("4,9173,2048038554,-;", "2048.038554", 2048.038554),
        ("3,9173,2048038554,c,caller=T16548;", "2048.038554", 2048.038554),
        ("\0\0\0[ 2048.038554] ", "2048.038554", 2048.038554),
        ("\ufeff[ 2048.038554] ", "2048.038554", 2048.038554),
        ("\x1b[32m[ 2048.038554] \x1b[0m\x1b[31m", "2048.038554", 2048.038554),
    ],
)
def test_wrappings(prefix: str, time: str | None, boot_s: float | None) -> None:
    """The text is the kernel's own; the times are as printed."""
    taken = line(prefix + TEXT)
    assert taken.text == TEXT
    assert (taken.time, taken.boot_s) == (time, boot_s)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "#015", "\x1b[0m\n"])
def test_line_ends(end: str) -> None:
    """Carriage returns of a console, and rsyslog's spelling of them, are no part of the text."""
    assert line(BOOT[0] + TEXT + end).text == TEXT


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "\n",
        f"Jun 20 12:47:43 host kubelet[12]: {TEXT}",
        f"Jun 20 12:47:43 host kernel-monitor: {TEXT}",
        f"Jun 20 12:47:43 host app: kernel: {TEXT}",
        f"2024-03-13T11:16:48.1+01:00 host systemd-oomd[601]: {TEXT}",
        f"[ 2048.038554] host earlyoom[601]: {TEXT}",
        f"user  :notice: [ 2048.038554] {TEXT}",
        '{"MESSAGE": "' + TEXT + '", "_TRANSPORT": "syslog"}',
        '{"MESSAGE": ' + "[" * 5000,
        '{"MESSAGE": 3}',
    ],
)
def test_lines_of_other_programs(raw: str) -> None:
    """Whoever quotes the kernel is not the kernel."""
    assert take_apart(raw) is None


def test_user_space_records_of_kmsg_say_nothing() -> None:
    """Facility 1 and above is somebody who wrote to /dev/kmsg; only its number counts."""
    taken = line(f"12,9173,2048038554,-;{TEXT}")
    assert (taken.text, taken.seq) == ("", 9173)


def test_kmsg_escapes() -> None:
    """A name with a backslash, a newline or another letter than ASCII comes back as it was."""
    taken = line(r"3,1,2,-;Killed process 1 (a\x5cb\x0a\xc3\xa4) total-vm:4kB")
    assert taken.text == "Killed process 1 (a\\b\nä) total-vm:4kB"


def test_journal_json() -> None:
    """Host and time of `journalctl -o json` are kept."""
    taken = line(
        '{"_TRANSPORT": "kernel", "_HOSTNAME": "web", "_SOURCE_MONOTONIC_TIMESTAMP": "2048038554",'
        f' "MESSAGE": "{TEXT}"}}'
    )
    assert (taken.text, taken.boot_s, taken.voice.split()) == (TEXT, 2048.038554, ["web"])


def test_journal_json_of_bytes() -> None:
    """Bytes that are no UTF-8 come as numbers."""
    numbers = [*b"Killed process 1 (b\xe4) total-vm:4kB"]
    assert line(f'{{"MESSAGE": {numbers}}}').text == "Killed process 1 (b\\xe4) total-vm:4kB"
    assert take_apart('{"MESSAGE": [1000]}') is None


def test_docker_json() -> None:
    """A container that logs the host's kernel."""
    raw = '{"log": "[ 2048.038554] ' + TEXT + '\\n", "stream": "stdout", "time": "2024-03-13T11Z"}'
    assert (line(raw).text, line(raw).time) == (TEXT, "2024-03-13T11Z")


@pytest.mark.parametrize(
    "text",
    [
        "[  390]     0   390    39012     6739      78       51             0 systemd-journal",
        "[<ffffffff811318a2>] ? oom_kill_process+0x82/0x2a0",
        "Node 0 DMA free:13312kB boost:0kB min:64kB low:80kB high:96kB",
        "Out of memory: Kill process 1 (x) score 6 or sacrifice child",
        "CPU    0: hi:  186, btch:  31 usd:  16",
        "[1] 2 3",
    ],
)
def test_the_kernels_own_text_is_left_alone(text: str) -> None:
    """What looks like a wrapping and is none."""
    assert line(text).text == text
    assert line(f"[ 2048.038554] {text}").text == text
    assert line(f"Jun 20 12:47:43 host kernel: {text}").text == text


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Jun 20 12:47:43 a kernel: x", "Jun 20 12:47:43 b kernel: x"),
        ("[ 2048.038554][ T1] x", "[ 2048.038554][ T2] x"),
        ("[ 1.000000] a kernel: x", "[ 1.000000] b kernel: x"),
        ("a  | [ 1.000000] x", "b  | [ 1.000000] x"),
        ("3,1,2,-,caller=T1;x", "3,1,2,-,caller=C0;x"),
    ],
)
def test_voices(one: str, two: str) -> None:
    """Hosts and threads are told apart."""
    assert line(one).voice != line(two).voice


def test_long_lines_are_cut() -> None:
    """A file without newlines costs no more than its first part."""
    assert len(line("x" * 10**6).text) == MAX_LINE
