"""Sources of notes: one file a source, each returns a note table and the sound of its rows."""
