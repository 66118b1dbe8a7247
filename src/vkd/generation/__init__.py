"""Image generation: a GAN alone, or one whose discriminator is distilled from a vision network."""
