"""What other libraries say of the same numbers; ``nox -s judges``, since the tests need none."""
