"""Folders laid out as the real data sets, with small generated audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile


def write_audio(root: Path, *names: str, rate: int = 44_100, midi: int = 69) -> None:
    """Write half a second of a tone under each name."""
    hertz = 440 * 2 ** ((midi - 69) / 12)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate), rate)


def column(notes: pd.DataFrame, name: str) -> list:
    return notes[name].tolist()


PHILHARMONIA = [
    "oboe/oboe_As4_1_forte_normal.mp3",
    "oboe/oboe_A4_05_forte_normal.mp3",
    "oboe/oboe_B4_1_molto-pianissimo_major-trill.mp3",
    "cello/cello_C2_1_piano_arco-normal.mp3",
    "cor anglais/english-horn_E3_1_mezzo-forte_normal.mp3",
]


SOL = [
    "Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav",
    "Winds/Flute/ordinario/Fl-ord-C#4-pp-N-N.wav",
    "Winds/Flute/flatterzunge/Fl-flatt-C4-mf-N-N.wav",
    "Winds/Flute/aeolian/Fl-aeol-N-mf-N-N.wav",
    "Brass/Trombone/ordinario/trbt-ord-A#2-ff.wav",
    "Brass/Trumpet_C+sordina/ordinario/TpC+S-ord-F#4-mf-N-N.wav",
    "Strings/Kora/ordinario/Kora-ord-E3-mf-4c-N.wav",
]


TINYSOL_HEADER = (
    "Path,Fold,Family,Instrument (abbr.),Instrument (in full),Technique (abbr.),Technique (in full),Pitch,Pitch ID,"
    "Dynamics,Dynamics ID,Instance ID,String ID (if applicable),Needed digital retuning"
)


def write_tinysol(root: Path) -> list[str]:
    """A folder laid out as TinySOL, without its metadata; the rows of that."""
    write_audio(root, *SOL[:2])
    return [
        TINYSOL_HEADER,
        f"{SOL[0]},3,Winds,Fl,Flute,ord,ordinario,C4,60,mf,2,0,,TRUE",
        f"{SOL[1]},0,Winds,Fl,Flute,ord,ordinario,C#4,61,pp,0,0,,FALSE",
    ]
