"""Other people's files -> numbers, text and pictures; nothing that they claim is believed before it is checked."""
