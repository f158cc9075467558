"""The paper's mathematics: losses, the token bridge, label models and preferences."""
