"""A root that no source reads is refused; one that a source reads makes a difference."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from datamodules import sources
from datamodules.note_pairs import NotePairs
from datamodules.sources.source import NoteSource


@pytest.mark.parametrize("name", sources.__all__)
def test_a_source_reads_its_root_or_says_that_it_does_not(name: str) -> None:
    source: type[NoteSource] = getattr(sources, name)
    tree = ast.parse(inspect.getsource(inspect.getmodule(source)))  # type: ignore[arg-type]
    (of_source,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    read = {node.id for node in ast.walk(of_source) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert source.reads_root == ("root" in read)


def test_a_root_beside_the_embedded_notes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.root is .*EmbeddedNotes reads no files"):
        NotePairs(sources.EmbeddedNotes(), root=tmp_path)
