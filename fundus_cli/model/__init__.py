"""Networks: from image tensors to logits."""
