"""Networks with noise in the weights of their fully connected layers."""
