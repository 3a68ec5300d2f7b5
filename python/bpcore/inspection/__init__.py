"""One pass or a short run on a copy that shows what a network does."""
