"""What a run leaves and what travels: run folders, the hub, model cards, files of vectors."""
