"""Git: repositories, the wire, forks, trees, pins."""
