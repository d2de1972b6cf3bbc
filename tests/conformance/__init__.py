"""One suite for every sink and one for every stage; each finds its subjects by itself."""
