"""DiME-Aug: new utterances of rare labels, in its published form and in one that keeps each voice."""
