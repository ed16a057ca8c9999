"""Another dataset and another model on this project's command line, records, resumption, grid folders and tables."""
