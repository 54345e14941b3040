"""What a run leaves on disk to go on from (:class:`Checkpoints`) and to be used (:func:`save_model`)."""

from facemae_jax.checkpoint.states import Checkpoints
from facemae_jax.checkpoint.weights import load_model, model_digest, save_model

__all__ = ["Checkpoints", "load_model", "model_digest", "save_model"]
