"""The recipe of the anchor `mini`: its pictures, model, losses and tokenizer. `train_mini` runs it."""
