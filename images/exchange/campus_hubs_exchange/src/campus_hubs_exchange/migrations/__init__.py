"""The database's revisions, oldest first; run at each start."""
