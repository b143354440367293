"""Where experience is kept until it is learned from."""
