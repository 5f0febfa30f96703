"""Networks, data and a trainer that run on fastconv's layers: ``fastconv models --help``."""
