"""Networks that remember: an encoder, a recurrent layer, an output."""
