"""Audio-language models: families and loading, the label tree, the packed pass over a panel, trimming of silence."""
