"""The report made from a run's results: Markdown, pictures, one HTML page, and the README's tables."""
