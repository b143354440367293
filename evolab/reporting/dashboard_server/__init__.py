"""The dashboard without a notebook (`evolab board`): one local page that follows saved runs, and only reads."""
