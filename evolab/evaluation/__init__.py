"""What an agent is worth: returns of episodes, or estimates from data."""
