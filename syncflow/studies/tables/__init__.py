"""The paper's tables and its Figure 5: how each row is made, made, measured and laid beside the paper's."""
