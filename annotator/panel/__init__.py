"""Who is asked, and how: panels, attribute questions, controls, few-shot examples, and the reading of texts."""
