"""How each metric answers to graded damage: clips, damages, response curves and their verdicts."""
