"""The live dashboard: a widget in a notebook, what it is told, its panels, and the JavaScript that draws them."""
