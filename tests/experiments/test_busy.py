"""A terminal sees that something is done; a log does not."""

from __future__ import annotations

import io
import sys

import pytest

from experiments.busy import busy


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_a_wheel_turns_on_a_terminal_only(
    stream: type[io.StringIO], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", written := stream())
    with busy("reading [/b]"):
        pass
    assert ("reading [/b] ..." in written.getvalue()) is shown
    assert bool(written.getvalue()) is shown
