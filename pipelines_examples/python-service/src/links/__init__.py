"""Short links: a service small enough to read in a minute."""
