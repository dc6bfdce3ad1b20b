"""Where state lies: SQLModel tables, migrations, the journal, log files, blobs."""
