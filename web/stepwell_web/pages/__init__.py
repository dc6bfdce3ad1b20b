"""The pages for people: one file for each place."""
