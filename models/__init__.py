"""Networks, data and a trainer that run on fastconv's layers: ``python -m models --help``."""
