"""What a user would write today instead: the same trial, without a line of telescope in it."""
