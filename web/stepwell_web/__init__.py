"""Everything HTTP: git endpoint, JSON API, pages, live streams."""
