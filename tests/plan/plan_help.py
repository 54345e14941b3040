"""A recognizer so small that its bytes can be computed on paper. For the tests of this folder."""

import flax.linen as nn

SIZE, EMBEDDING, PEOPLE, BATCH = 4, 16, 20, 16
WEIGHTS = SIZE * SIZE * 3 * EMBEDDING + EMBEDDING  # 784 numbers


class OneLayer(nn.Module):
    """48 pixels → 16 numbers."""

    embedding: int = EMBEDDING
    dtype: object = "float32"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC, train):
        return nn.Dense(self.embedding, dtype=self.dtype, name="fc")(images_BHWC.reshape(len(images_BHWC), -1))
