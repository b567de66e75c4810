"""The pretrained encoder: loading it, running a part of it, faster attention, and what its frozen bottom says."""
