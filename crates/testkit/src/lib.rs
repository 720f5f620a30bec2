//! Fixtures for tests: a carob instance, registries and images made from Debian packages.
