"""What Defender exports: the fields of each export, their kinds and keys, and the ids made of them."""
