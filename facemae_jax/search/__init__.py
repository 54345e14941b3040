"""Exact search among embeddings: the k best of a gallery, and the rank of given gallery images, in bounded memory."""

from facemae_jax.search.best import top_k
from facemae_jax.search.ranks import rank_of

__all__ = ["rank_of", "top_k"]
