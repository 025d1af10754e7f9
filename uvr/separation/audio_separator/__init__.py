"""audio-separator as an engine: every architecture but MDX-Net, in an environment of its own because of torch."""
