"""The language of a space file: what is searched, under which conditions."""
