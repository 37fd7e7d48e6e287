"""What scenario tests share: a whole installation with real servers, and comparison by SQL of the tests' own."""
