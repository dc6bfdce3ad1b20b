"""What Stepwell keeps: tables in one SQLite file, log files beside it."""
