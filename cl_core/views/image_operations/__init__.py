"""Operations on batches of images, each with its own parameters per sample."""
