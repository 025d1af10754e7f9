"""The engine for every architecture but MDX-Net: audio-separator, in an environment of its own because of torch."""
