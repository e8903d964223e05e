"""FoleyGen (arXiv 2309.10537), reproduced: a language model over EnCodec codes, conditioned on frames."""
