"""The study: the record of a search, and what can be done with one."""
