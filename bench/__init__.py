"""Results of contests, and suites of pytest-benchmark; the program is `fastconv.bench`."""
